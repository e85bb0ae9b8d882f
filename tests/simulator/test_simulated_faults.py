"""Hundreds of small disasters, each from a seed: every task ends, once, and nothing is left behind."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from engine.jobspec.task import Retry
from engine.lifecycle.cancel import AlreadyEnded, cancel
from engine.model.states import TRANSITIONS, TaskState
from engine.settings import Settings
from engine.store.database import Database
from engine.worker.sweep import read_states, stale
from tests.simulator.installation import Broker, Daemon, Worker
from tests.support.world import World

#: While faults happen, and then until all must have ended.
FAULTY_STEPS = 200
MOST_STEPS = 6_000


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The rows of all runs, one after another."""
    data = tmp_path_factory.mktemp("simulator")
    settings = Settings.from_env({}, data_dir=str(data), max_crashes=1000)
    db = Database(settings)
    yield World(db, settings, db.open())
    db.close()


class Run:
    """One seed's life of an installation: two daemons, three workers, three tasks."""

    def __init__(self, world: World, seed: int) -> None:
        world.wipe()
        self.world, self.chance = world, random.Random(seed)
        self.broker = Broker()
        self.daemons = [Daemon("d0", self.chance), Daemon("d1", self.chance)]
        self.workers = [self.worker(n % 2) for n in range(3)]
        self.ids = [
            world.submitted(name="chain", pre=1, post=1, volumes=("/tmp",)).id,
            world.submitted(name="fails once", retry=Retry(limit=1), post=1, always=True).id,
            world.submitted(name="single").id,
        ]
        self.faults: Counter[str] = Counter()

    def worker(self, daemon: int) -> Worker:
        return Worker(self.world, self.daemons[daemon], self.broker)

    def go(self) -> None:
        for step in range(MOST_STEPS):
            if step < FAULTY_STEPS and self.chance.random() < 0.06:
                self.fault()
            elif step == FAULTY_STEPS:
                self.heal()
            self.step()
            if step > FAULTY_STEPS and step % 20 == 0 and self.over():
                return
        raise AssertionError(f"not over after {MOST_STEPS} steps: {self.story()}")

    def step(self) -> None:
        worker = self.chance.choice(self.workers)
        if worker.sleeps > 0:
            worker.sleeps -= 1
        else:
            links = bool(worker.threads) and self.chance.random() < 0.6
            thread = self.chance.choice(worker.threads if links else worker.always)
            try:
                next(thread)
            except StopIteration:
                worker.threads.remove(thread)
        for daemon in self.daemons:
            if self.chance.random() < 0.3:
                daemon.tick()
        self.check_daemons()

    def fault(self) -> None:
        kind = self.chance.choice(["kill", "pause", "silent", "double", "empty", "prune", "cancel"])
        n = self.chance.randrange(len(self.workers))
        daemon = self.chance.choice(self.daemons)
        waiting = [queue for queue in self.broker.queues.values() if queue]
        if kind == "kill":
            self.workers[n] = self.worker(self.daemons.index(self.workers[n].daemon))
        elif kind == "pause":
            self.workers[n].sleeps = self.chance.randint(5, 60)
        elif kind == "silent":
            daemon.silent = not daemon.silent
        elif kind == "double" and waiting:
            queue = self.chance.choice(waiting)
            queue.append(self.chance.choice(queue))
        elif kind == "empty":
            self.broker.queues.clear()
            self.broker.emptied = True
        elif kind == "prune":
            # What somebody removes by hand runs again: a fault of its own kind, and seldom.
            exited = [one for one in daemon.containers.values() if one.state == "exited"]
            for one in exited[:1]:
                del daemon.containers[one.id]
        elif kind == "cancel" and self.chance.random() < 0.3:
            try:
                cancel(self.world.db, self.chance.choice(self.ids))
            except AlreadyEnded:
                kind = "cancel too late"
        self.faults[kind] += 1

    def heal(self) -> None:
        for daemon in self.daemons:
            daemon.silent = False

    def over(self) -> bool:
        if not all(self.world.task(id).state.ended for id in self.ids):
            return False
        if any(daemon.containers or daemon.volumes for daemon in self.daemons):
            # The sweep, which a worker makes each few seconds.
            self.workers[0].threads.append(self.sweeps(self.chance.choice(self.workers)))
            return False
        return True

    def sweeps(self, worker: Worker) -> Iterator[None]:
        things = worker.daemon.list()
        yield
        states = read_states(worker.site, things)
        yield
        worker.daemon.remove(stale(things, states))

    def check_daemons(self) -> None:
        for daemon in self.daemons:
            running = Counter(
                (one.order.task_id, one.order.index)
                for one in daemon.containers.values()
                if one.state == "running"
            )
            doubled = [link for link, n in running.items() if n > 1]
            assert not doubled, f"two at once on {daemon.name}: {doubled}, {self.story()}"

    def check_rows(self) -> None:
        """One end each, only transitions of the table, and a result of a container that was confirmed."""
        for id in self.ids:
            task = self.world.task(id)
            said = [e for e in self.world.events(id) if e.from_state and e.kind in ("task", "repair")]
            ends = [e for e in said if e.to_state and TaskState(e.to_state).ended]
            assert len(ends) == 1, self.story()
            for event in said:
                assert (event.from_state, event.to_state) in TRANSITIONS, event
            confirmed = {f"by {link.container_id}" for link in self.world.links(id)}
            if task.state is TaskState.COMPLETED:
                assert task.result in confirmed, self.story()
            assert task.state is TaskState.COMPLETED or self.faults["cancel"], self.story()
            assert str(self.world.job_of(id).state) == str(task.state)

    def story(self) -> str:
        told = [
            f"{e.kind} {(e.task_id or e.node or '')[:6]} {e.attempt},{e.delivery} {e.from_state}->{e.to_state}"
            f" {e.node or ''} {e.reason or ''}"
            for e in self.world.events()
        ]
        return f"faults {dict(self.faults)}\n" + "\n".join(told[-60:])


def _run(rows: World, seeds: range) -> None:
    for seed in seeds:
        run = Run(rows, seed)
        try:
            run.go()
            run.check_rows()
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc


@pytest.mark.parametrize("chunk", range(3))
def test_every_task_ends_once_and_nothing_is_left(rows: World, chunk: int) -> None:
    _run(rows, range(chunk * 10, chunk * 10 + 10))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(10))
def test_every_task_ends_once_under_a_thousand_seeds(rows: World, chunk: int) -> None:
    _run(rows, range(100 + chunk * 100, 200 + chunk * 100))
