"""Faults of a simulated installation: each kind is a method, drawn by the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.cancel import AlreadyEnded, cancel
from engine.model.records import Token
from engine.store import nodes
from tests.simulator.daemon import Broker, Daemon
from tests.simulator.sim_rows import Rows
from tests.simulator.sim_worker import Worker
from tests.simulator.story import Story
from tests.support.callers import TESTER

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
    "bereft",
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


class Faults:
    """Faults that a `Run` injects."""

    chance: random.Random
    story: Story
    rows: Rows
    broker: Broker
    workers: list[Worker]
    daemons: list[Daemon]
    ids: list[str]
    #: How many of each kind there were.
    faults: Counter[str]
    #: When a daemon answers again by itself.
    answers: dict[str, int]

    def worker(self, daemon: Daemon) -> Worker:
        """Start a process on the daemon's host."""
        raise NotImplementedError

    def fault(self) -> None:
        """Inject one fault; count it, and add it to the story."""
        kind = self.chance.choice(_FAULTS)
        busy = [n for n, worker in enumerate(self.workers) if worker.threads]
        n = self.chance.choice(busy if busy and self.chance.random() < 0.7 else range(len(self.workers)))
        daemon = self.chance.choice(self.daemons)
        of_daemons = {"silent": self.silence, "cut off": self.cut_off, "prune": self.prune}
        of_workers = {
            "kill": self.kill,
            "pause": self.pause,
            "lapse": self.lapse,
            "zombie": self.make_zombie,
            "freeze": self.freeze,
            "leave": self.leave,
            "bereft": self.bereave,
        }
        if kind in of_daemons:
            of_daemons[kind](daemon)
        elif kind in of_workers:
            of_workers[kind](self.workers[n])
        elif kind == "cancel":
            kind = self.cancel()
        else:
            self.lose(kind)
        self.faults[kind] += 1

    def kill(self, worker: Worker) -> None:
        """Kill the process with SIGKILL: its memory is lost, and its service starts another."""
        self.story.tell("fault", f"kill -9 of {worker.name}")
        self.workers[self.workers.index(worker)] = self.worker(worker.daemon)

    def pause(self, worker: Worker) -> None:
        """Stop a process with SIGSTOP, and continue it some turns later."""
        worker.sleeps = self.chance.randint(5, 60)
        self.story.tell("fault", f"{worker.name} is paused for {worker.sleeps} turns")

    def make_zombie(self, worker: Worker) -> None:
        """Pause a process for long, best while it creates a container, so that it goes on after it was replaced."""
        making = [worker for worker in self.workers if worker.makes]
        worker = self.chance.choice(making) if making else worker
        self.lapse(worker, self.chance.randint(10, 120))

    def leave(self, worker: Worker) -> None:
        """Send SIGTERM to a process."""
        worker.leaving = True
        self.story.tell("fault", f"SIGTERM to {worker.name}")

    def freeze(self, worker: Worker) -> None:
        """Stop one thread, while the others, and the node's lapse, go on."""
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
            self.lapse(worker)

    def lapse(self, worker: Worker, sleeps: int = 0) -> None:
        """Let a lease run out early: a node lapses now, and its process lives or is paused in the middle."""
        with self.rows.world.db.read() as c:
            node = nodes.get(c, worker.node_id)
        if node is not None and node_verbs.lapse(worker.installation, TESTER, node):
            worker.sleeps = max(worker.sleeps, sleeps)
            self.story.tell("fault", f"{node.id} lapses, {worker.name} is paused for {sleeps} turns")

    def silence(self, daemon: Daemon) -> None:
        """Let the daemon fall silent or answer again."""
        daemon.silent = not daemon.silent
        self.story.tell("fault", f"{daemon.name} {'falls silent' if daemon.silent else 'answers again'}")

    def cut_off(self, daemon: Daemon) -> None:
        """Cut off the daemon and its whole host."""
        self.silence(daemon)
        if daemon.silent:
            for worker in self.workers:
                if worker.daemon is daemon:
                    worker.sleeps = self.chance.randint(20, 60)
            self.story.tell("fault", f"the processes on {daemon.name}'s host are away too")

    def bereave(self, worker: Worker) -> None:
        """Let the daemon fall silent for some time, and one of its processes die meanwhile."""
        daemon = worker.daemon
        daemon.silent = True
        self.answers[daemon.name] = self.story.step + self.chance.randint(80, 250)
        self.story.tell("fault", f"{daemon.name} falls silent; kill -9 of {worker.name}")
        self.workers[self.workers.index(worker)] = self.worker(daemon)

    def prune(self, daemon: Daemon) -> None:
        """Remove by hand, as a person would, all exited containers and then the volumes without users."""
        for one in [one for one in daemon.containers.values() if one.state == "exited"]:
            del daemon.containers[one.id]
            self.story.tell("fault", f"somebody removes {one.id} from {daemon.name}")
        for name in list(daemon.volumes):
            if self.chance.random() < 0.5 and daemon.remove_volume(name):
                self.story.tell("fault", f"somebody removes volume {name[-6:]} from {daemon.name}")

    def cancel(self) -> str:
        """Cancel a task, but seldom, because a cancelled task meets no other faults."""
        if self.chance.random() < 0.7:
            return "no cancel"
        id = self.chance.choice(self.ids)
        try:
            cancel(self.rows.world.installation, TESTER, id)
        except AlreadyEnded:
            return "cancel too late"
        self.story.tell("fault", f"somebody cancels {self.story.names[id]}")
        return "cancel"

    def lose(self, kind: str) -> None:
        """Let the broker lose, double, delay or reorder messages."""
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


class _Frozen:
    """Thread that stands still for some of its turns."""

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
