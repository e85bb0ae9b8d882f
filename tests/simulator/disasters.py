"""One seed's life of an installation: two daemons, three workers, three tasks, and what befalls them."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa

import engine.lifecycle.submit as submit_module
from engine.jobspec.task import Retry
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.cancel import AlreadyEnded, cancel
from engine.model.records import Token
from engine.settings import Settings
from engine.store import nodes
from tests.simulator.around import Around
from tests.simulator.checker import Broken, Checker
from tests.simulator.daemon import Broker, Daemon
from tests.simulator.database import CountingDatabase
from tests.simulator.rows import Rows, Snapshot
from tests.simulator.story import Story
from tests.simulator.worker import SHARES, Worker
from tests.support.world import World

#: The processes have begun to work; no more faults; and by then all must have ended.
FIRST_FAULTS = 80
FAULTY_STEPS = 500
HOURS = (150, 450)
MOST_STEPS = 6_000
_FAULTS = (
    "kill",
    "kill",
    "pause",
    "lapse",
    "zombie",
    "zombie",
    "freeze",
    "freeze",
    "freeze",
    "silent",
    "cut off",
    "leave",
    "double",
    "lose",
    "late",
    "shuffle",
    "empty",
    "prune",
    "cancel",
)


def installation(url: str) -> tuple[World, CountingDatabase]:
    """The rows of all seeds, one after another, in one database."""
    settings = Settings.from_env({}, database_url=url, max_crashes=1000)
    db = CountingDatabase(settings)
    db.open()
    return World(db, settings), db


class Run:
    """Steps drawn from the seed; everything that a step may do follows from it alone."""

    def __init__(self, world: World, db: CountingDatabase, seed: int, kind: type[Worker] = Worker) -> None:
        db.wipe()
        self.chance, self._kind = random.Random(seed), kind
        self.story = Story(seed)
        self.checker = Checker(self.story)
        self.rows, self.broker = (Snapshot if db.is_swift else Rows)(world, db), Broker()
        self.daemons = [Daemon(f"d{n}", self.chance, self.checker.started) for n in range(2)]
        self._numbers = itertools.count(1)
        self.workers = [self.worker(self.daemons[n % 2]) for n in range(3)]
        with pytest.MonkeyPatch.context() as patch:
            # The same ids each time: they are in the names that the story tells.
            patch.setattr(submit_module, "uuid4", lambda: UUID(int=self.chance.getrandbits(128), version=4))
            self.ids = [
                world.submitted(name="chain", pre=1, post=1, volumes=("/tmp",)).id,
                world.submitted(name="fails once", retry=Retry(limit=1), post=1, always=True).id,
                world.submitted(name="hangs once", retry=Retry(limit=1), timeout="1h").id,
            ]
        self.story.names = dict(zip(self.ids, ("chain", "fails once", "hangs once"), strict=True))
        #: When the hour of the first attempt of what hangs is over.
        self._hour = self.chance.randint(*HOURS)
        self.faults: Counter[str] = Counter()
        self._fast: int | None = None
        #: How often a daemon's containers go on in a step.
        self._pace = 0.3

    def worker(self, daemon: Daemon) -> Worker:
        """A new process on the daemon's host."""
        around = Around(self.rows, daemon, self.daemons, self.broker, self.checker, self.story)
        return self._kind(f"w{next(self._numbers)}@{daemon.name}", around)

    def go(self) -> None:
        """All steps of this seed; raises Broken."""
        for step in range(MOST_STEPS):
            self.story.step = step
            if FIRST_FAULTS <= step < FAULTY_STEPS and self.chance.random() < 0.06:
                self.fault()
            elif step == FAULTY_STEPS:
                self.heal()
            self.step()
            if step >= self._hour and step % 10 == 0 and not self.rows.late:
                self.rows.hour_passes(self.ids[2])
            if step > FAULTY_STEPS and step % 20 == 0 and self.over():
                break
        else:
            self.checker.not_over([self.rows.task(id) for id in self.ids], self.daemons)
        self.checker.ended_nodes(self.rows.world.events())
        for id in self.ids:
            self.checker.ended(self.rows, id, self.daemons, self.faults["cancel"])

    def step(self) -> None:
        """One step of one thread of one process; the containers go on by themselves."""
        n = self._turn()
        worker = self.workers[n]
        if worker.sleeps > 0:
            worker.sleeps -= 1
            # What was at work may go on before the process learns what it has missed.
            worker.hurries = self.chance.choice((0, 0, 4, 12)) if not worker.sleeps else 0
        else:
            draw = self.chance.random
            worker.hurries -= 1
            if worker.threads and (worker.hurries >= 0 or draw() < 0.6):
                thread = worker.threads[int(draw() * len(worker.threads))]
            else:
                thread = worker.always[SHARES[int(draw() * len(SHARES))]]
            try:
                next(thread)
            except StopIteration:
                worker.threads.remove(thread)
            except (sqlite3.IntegrityError, sa.exc.IntegrityError) as exc:
                raise Broken("I2", f"rows that the schema refuses: {exc}", self.story) from exc
            if worker.gone:
                self.workers[n] = self.worker(worker.daemon)
        for daemon in self.daemons:
            if self.chance.random() < self._pace:
                daemon.tick()
        self.checker.two_runs(self.rows, self.daemons)

    def _turn(self) -> int:
        """Whose turn it is: while there are faults, one process may be much faster for some steps."""
        faulty = self.story.step < FAULTY_STEPS
        if faulty and self.chance.random() < 0.04:
            self._fast = self.chance.choice((None, None, *range(len(self.workers))))
        if faulty and self._fast is not None and self.chance.random() < 0.8:
            return self._fast
        return int(self.chance.random() * len(self.workers))

    def fault(self) -> None:
        """One disaster; which one it was is counted, and told."""
        kind = self.chance.choice(_FAULTS)
        busy = [n for n, worker in enumerate(self.workers) if worker.threads]
        n = self.chance.choice(busy if busy and self.chance.random() < 0.7 else range(len(self.workers)))
        daemon = self.chance.choice(self.daemons)
        if kind == "kill":
            self.story.tell("fault", f"kill -9 of {self.workers[n].name}")
            self.workers[n] = self.worker(self.workers[n].daemon)
        elif kind == "pause":
            self.workers[n].sleeps = self.chance.randint(5, 60)
            self.story.tell("fault", f"{self.workers[n].name} is paused for {self.workers[n].sleeps} turns")
        elif kind in ("lapse", "zombie"):
            self.lapse(self.workers[n], self.chance.randint(10, 80) if kind == "zombie" else 0)
        elif kind == "freeze":
            self.freeze(self.workers[n])
        elif kind == "leave":
            self.workers[n].leaving = True
            self.story.tell("fault", f"SIGTERM to {self.workers[n].name}")
        elif kind in ("silent", "cut off"):
            self.cut_off(daemon, with_workers=kind == "cut off")
        elif kind == "prune":
            self.prune(daemon)
        elif kind == "cancel":
            kind = self.cancel()
        else:
            self.lose(kind)
        self.faults[kind] += 1

    def freeze(self, worker: Worker) -> None:
        """One of its threads stands still, while the others, and the node's lapse, go on."""
        turns = self.chance.randint(5, 40)
        if worker.threads and self.chance.random() < 0.7:
            n = self.chance.randrange(len(worker.threads))
            worker.threads[n] = _Frozen(turns, worker.threads[n])
            frozen = f"thread {n}"
        else:
            n, frozen = self.chance.choice(((1, "the node's thread"), (3, "the keeping"), (4, "the sweep")))
            worker.always[n] = _Frozen(turns, worker.always[n])
        self.story.tell("fault", f"{frozen} of {worker.name} is frozen for {turns} turns")
        if self.chance.random() < 0.7:
            self.lapse(worker, 0)

    def lapse(self, worker: Worker, sleeps: int) -> None:
        """Somebody's lease ran out early: a node lapses now, its process lives or is paused in the middle."""
        with self.rows.world.db.read() as c:
            node = nodes.get(c, worker.node_id)
        if node is not None and node_verbs.lapse(worker.site, node):
            worker.sleeps = max(worker.sleeps, sleeps)
            self.story.tell("fault", f"{node.id} lapses, {worker.name} is paused for {sleeps} turns")

    def cut_off(self, daemon: Daemon, *, with_workers: bool) -> None:
        """The daemon falls silent or answers again; its whole host may be away with it."""
        daemon.silent = not daemon.silent
        self.story.tell("fault", f"{daemon.name} {'falls silent' if daemon.silent else 'answers again'}")
        if with_workers and daemon.silent:
            for worker in self.workers:
                if worker.daemon is daemon:
                    worker.sleeps = self.chance.randint(20, 60)
            self.story.tell("fault", f"the processes on {daemon.name}'s host are away too")

    def prune(self, daemon: Daemon) -> None:
        """What somebody removes by hand: all that is exited, and then volumes without users."""
        for one in [one for one in daemon.containers.values() if one.state == "exited"]:
            del daemon.containers[one.id]
            self.story.tell("fault", f"somebody removes {one.id} from {daemon.name}")
        for name in list(daemon.volumes):
            if self.chance.random() < 0.5 and daemon.remove_volume(name):
                self.story.tell("fault", f"somebody removes volume {name[-6:]} from {daemon.name}")

    def cancel(self) -> str:
        """Seldom: what is cancelled is lost to the other faults."""
        if self.chance.random() < 0.7:
            return "no cancel"
        id = self.chance.choice(self.ids)
        try:
            cancel(self.rows.world.db, id)
        except AlreadyEnded:
            return "cancel too late"
        self.story.tell("fault", f"somebody cancels {self.story.names[id]}")
        return "cancel"

    def lose(self, kind: str) -> None:
        """What a broker does to its messages."""
        waiting = [queue for queue in self.broker.queues.values() if queue]
        self.story.tell("fault", f"the broker's messages: {kind}")
        if kind == "empty":
            self.broker.queues.clear()
            self.broker.emptied = True
        elif waiting:
            queue = self.chance.choice(waiting)
            if kind == "double":
                queue.append(self.chance.choice(queue))
            elif kind == "lose":
                queue.pop(self.chance.randrange(len(queue)))
            elif kind == "shuffle":
                self.chance.shuffle(queue)
            else:
                message = queue.pop(0)
                self.workers[0].threads.append(_later(queue, message, self.chance.randint(5, 30)))

    def heal(self) -> None:
        """The faults stop."""
        self.story.tell("fault", "no more faults")
        self._pace = 1.0  # nothing is won by waiting for containers
        for daemon in self.daemons:
            daemon.silent = False

    def over(self) -> bool:
        """All tasks ended, and the sweep, which a worker makes each few seconds, has left nothing."""
        if not all(self.rows.task(id).state.ended for id in self.ids):
            return False
        if any(daemon.list() for daemon in self.daemons):
            worker = self.chance.choice(self.workers)
            worker.threads.append(worker.sweeps())
            return False
        return True


class _Frozen:
    """A thread that stands still for some of its turns."""

    def __init__(self, turns: int, thread: Iterator[None]) -> None:
        self._turns, self._thread = turns, thread

    def __iter__(self) -> Iterator[None]:
        return self

    def __next__(self) -> None:
        if self._turns > 0:
            self._turns -= 1
        else:
            next(self._thread)


def _later(queue: list[tuple[Token, int]], message: tuple[Token, int], steps: int) -> Iterator[None]:
    for _ in range(steps):
        yield
    queue.append(message)


__all__ = ["Broken", "Run", "installation"]
