"""Run of one seed: two daemons, three workers, three tasks, and faults."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections import Counter
from uuid import UUID

import pytest
import sqlalchemy as sa

import engine.lifecycle.submit as submit_module
from engine.jobspec.task import Retry
from engine.settings import Settings
from tests.simulator.around import FAULTY_STEPS, Around
from tests.simulator.checker import Broken, Checker
from tests.simulator.counting_database import CountingDatabase
from tests.simulator.daemon import Broker, Daemon
from tests.simulator.sim_faults import Faults
from tests.simulator.sim_rows import Rows, Snapshot
from tests.simulator.sim_worker import SHARES, Worker
from tests.simulator.story import Story
from tests.support.verb_world import World

#: The processes have begun to work; no more faults; and by then all must have ended.
FIRST_FAULTS = 80
HOURS = (150, 450)
MOST_STEPS = 6_000


def installation(url: str) -> tuple[World, CountingDatabase]:
    """Make the database that holds the rows of all seeds, one after another."""
    settings = Settings.from_env({}, database_url=url, max_crashes=1000)
    db = CountingDatabase(settings.store)
    db.open()
    return World(db, settings), db


class Run(Faults):
    """Steps drawn from the seed, which alone decides what happens."""

    def __init__(self, world: World, db: CountingDatabase, seed: int, kind: type[Worker] = Worker) -> None:
        db.wipe()
        self.chance, self._kind = random.Random(seed), kind
        self.story = Story(seed)
        self.checker = Checker(self.story)
        self.rows, self.broker = (Snapshot if db.is_swift else Rows)(world, db), Broker()
        self.checker.rows = self.rows
        self.daemons = [Daemon(f"d{n}", self.chance, self.checker.started) for n in range(2)]
        if seed % 5 == 4:
            # Draws of their own, and not in every story: the other stories stay what they were.
            for daemon in self.daemons:
                daemon.refusals = random.Random(f"{daemon.name} of {seed}")
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
        self.answers: dict[str, int] = {}
        #: How often a daemon's containers go on in a step.
        self._pace = 0.3

    def worker(self, daemon: Daemon) -> Worker:
        """Start a process on the daemon's host."""
        around = Around(self.rows, daemon, self.daemons, self.broker, self.checker, self.story, self.chance)
        return self._kind(f"w{next(self._numbers)}@{daemon.name}", around)

    def go(self) -> None:
        """Do all steps of this seed; raise Broken."""
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
        """Do one step of one thread of one process, and let the containers run on."""
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
            if self.answers.get(daemon.name) == self.story.step and daemon.silent:
                self.silence(daemon)
            if self.chance.random() < self._pace:
                daemon.tick()
        self.checker.former_runs(self.rows, self.daemons)

    def _turn(self) -> int:
        """Draw whose turn it is: while there are faults, one process may be much faster for some steps."""
        faulty = self.story.step < FAULTY_STEPS
        if faulty and self.chance.random() < 0.04:
            self._fast = self.chance.choice((None, None, *range(len(self.workers))))
        if faulty and self._fast is not None and self.chance.random() < 0.8:
            return self._fast
        return int(self.chance.random() * len(self.workers))

    def heal(self) -> None:
        """Stop the faults."""
        self.story.tell("fault", "no more faults")
        self._pace = 1.0  # nothing is won by waiting for containers
        for daemon in self.daemons:
            daemon.silent, daemon.refusals = False, None

    def over(self) -> bool:
        """Return whether all tasks ended and the sweep, which a worker repeats, has left nothing."""
        if not all(self.rows.task(id).state.ended for id in self.ids):
            return False
        if any(daemon.list() for daemon in self.daemons):
            worker = self.chance.choice(self.workers)
            worker.threads.append(worker.sweeps())
            return False
        return True


__all__ = ["Broken", "Run", "installation"]
