"""A whole installation in one thread: the real verbs and rows, with daemons, broker and processes of our own.

A process is a handful of generators that stop between any two effects. A seed decides who goes on, who is
killed, who is paused until its node lapses, which daemon falls silent, which message is doubled or lost.
The rows and every guard are the real ones; what Docker and Redis do is told by `Daemon` and `Broker`, as
measured: an exited container runs again when it is started, a name is taken once, a plain remove refuses what runs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Gone, NotOurs, RuntimeUnavailable
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import Finished, finish_link
from engine.lifecycle.resend import resend
from engine.lifecycle.restart import give_back, restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.names import node_queue
from engine.model.records import Task, Token
from engine.model.states import TaskState
from engine.runtime.base import Cause, Control, Order, Outcome, Thing
from engine.store import events, nodes, outbox, tasks
from engine.worker.hands import Hand, Hands
from engine.worker.sweep import read_states, run_things, stale
from tests.support.world import World

Steps = Generator[None, None, Any]

#: Looks of a watcher at a beat that stands still, and at lost work, before it acts.
LEASE_LOOKS = 4
GRACE_LOOKS = 3
RESEND_LOOKS = 12
LOOSE_LOOKS = 3


@dataclass
class Container:
    """As Docker has it. `left` is how many more steps it runs."""

    id: str
    order: Order
    left: int
    code: int
    state: str = "created"
    unstartable: bool = False


class Daemon:
    """One Docker daemon."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.silent = False
        self.containers: dict[str, Container] = {}
        self.volumes: dict[str, Order] = {}
        self._chance = chance
        self._ids = itertools.count()

    def answer(self) -> None:
        """Every call asks first."""
        if self.silent:
            raise RuntimeUnavailable(self.name)

    def list(self) -> list[Thing]:
        self.answer()
        return [_thing(one) for one in self.containers.values()] + [
            Thing("volume", name, name, o.task_id, o.attempt, o.origin, None, "")
            for name, o in self.volumes.items()
        ]

    def named(self, name: str) -> Container | None:
        self.answer()
        return next((one for one in self.containers.values() if one.order.name == name), None)

    def create(self, order: Order, fails: bool) -> Container | None:
        """None: the name is taken (409)."""
        if self.named(order.name) is not None:
            return None
        made = Container(f"{self.name}-{next(self._ids)}", order, self._chance.randint(1, 12), int(fails))
        self.containers[made.id] = made
        return made

    def start(self, id: str) -> None:
        """Without a precondition: an exited container runs again."""
        self.answer()
        if id not in self.containers:
            raise Gone(id)
        if not self.containers[id].unstartable:
            self.containers[id].state = "running"

    def remove(self, things: Iterable[Thing]) -> None:
        """By force, containers by id or name."""
        self.answer()
        for thing in things:
            if thing.kind == "volume":
                self.volumes.pop(thing.id, None)
            for id in [id for id, one in self.containers.items() if thing.id in (id, one.order.name)]:
                del self.containers[id]

    def remove_plainly(self, id: str) -> None:
        """Refuses what runs."""
        self.answer()
        if id in self.containers and self.containers[id].state != "running":
            del self.containers[id]

    def tick(self) -> None:
        """Containers go on by themselves, whether anybody looks or not."""
        for one in self.containers.values():
            if one.state == "running":
                one.left -= 1
                if one.left <= 0:
                    one.state = "exited"


def _thing(one: Container) -> Thing:
    order = one.order
    return Thing(
        "container", one.id, order.name, order.task_id, order.attempt, order.origin, order.index, one.state
    )


@dataclass
class Broker:
    """Queues of ids. `emptied` is what the marker tells."""

    queues: dict[str, list[tuple[Token, int]]] = field(default_factory=dict)
    emptied: bool = False

    def send(self, queue: str, token: Token, index: int) -> None:
        self.queues.setdefault(queue, []).append((token, index))

    def take(self, queue: str) -> tuple[Token, int] | None:
        waiting = self.queues.get(queue)
        return waiting.pop(0) if waiting else None


class Worker:
    """A worker process: its threads are generators, and a kill drops them all."""

    _ids = itertools.count()

    def __init__(self, world: World, daemon: Daemon, broker: Broker, slots: int = 2) -> None:
        self.world, self.site, self.daemon, self.broker = world, world.site, daemon, broker
        self.slots = slots
        self.hands = Hands()
        self.node_id = ""
        self.live = self.deaf = False
        self.sleeps = 0
        self.always: list[Steps] = [self.beats(), self.passes(), self.consumes(), self.keeps()]
        #: Threads of links, and of whatever else ends.
        self.threads: list[Steps] = []
        self._seen: dict[str, tuple[int, int]] = {}
        self._lost: dict[tuple[Token, int], int] = {}
        self._loose: dict[Token, int] = {}
        self._sent: dict[Token, int] = {}

    # The node's threads.

    def beats(self) -> Steps:
        while True:
            yield
            if not self.node_id:
                continue
            hands = self.hands.all()
            answer = node_verbs.beat(self.site, self.node_id, [hand.token.task_id for hand in hands])
            if answer.fenced:
                self.live, self.node_id = False, ""
                self.hands.detach_all()
                continue
            for hand in hands:
                state, attempt, delivery = answer.hands.get(hand.token.task_id, (None, 0, 0))
                if state is TaskState.CANCELLED:
                    hand.control.kill(Cause.CANCELLED)
                elif state is not TaskState.RUNNING or (attempt, delivery) != _numbers(hand.token):
                    hand.control.detach()

    def passes(self) -> Steps:
        while True:
            yield
            try:
                if not self.node_id:
                    self.node_id = self.world.joining(f"w{next(self._ids)}")
                elif self.deaf:
                    self.daemon.answer()
                    if node_verbs.docker_back(self.site, self.node_id):
                        self.deaf = False
                elif not self.live:
                    yield from self.joins(self.node_id)
                else:
                    yield from self.looks(self.node_id)
                    self.ties_up()
            except RuntimeUnavailable:
                if not self.deaf and self.node_id:
                    self.live, self.deaf = False, True
                    node_verbs.docker_silent(self.site, self.node_id)

    def _read(self) -> tuple[int, list[Task]]:
        with self.world.db.read() as c:
            number = nodes.last_lapse(c)
            return number, [task for task, _, _ in tasks.lost(c)]

    def joins(self, me: str) -> Steps:
        number, _ = self._read()
        yield
        things = self.daemon.list()
        yield
        self.daemon.remove(stale(things, read_states(self.site, things)))
        yield
        _, lost = self._read()
        if not (yield from self.takes(me, things, lost)):
            return
        yield
        # `me`: the beat may have fenced this node while it joined.
        if node_verbs.become_live(self.site, me, number) and me == self.node_id:
            self.live = True

    def looks(self, me: str) -> Steps:
        number, lost = self._read()
        if lost:
            yield
            things = self.daemon.list()
            yield
            yield from self.takes(me, things, lost)
        yield
        if self.world.node(me).looked < number:
            node_verbs.looked(self.site, me, number)

    def takes(self, me: str, things: list[Thing], lost: list[Task]) -> Steps:
        here = {(thing.task_id, thing.attempt, thing.origin) for thing in things}
        all_taken = True
        for task in lost:
            if (task.id, task.attempt, task.origin) in here:
                yield
                token = take_over(self.site, task.token, me, "found")
                all_taken = all_taken and token is not None
                if token is not None:
                    self.threads.append(self.adopts(token, me))
        return all_taken

    def ties_up(self) -> None:
        with self.world.db.read() as c:
            mine = tasks.of_node(c, self.node_id)
        loose = {task.token for task in mine if not self.hands.holds(task.id)}
        self._loose = {token: self._loose.get(token, 0) + 1 for token in loose}
        for token in [token for token, looks in self._loose.items() if looks >= LOOSE_LOOKS]:
            new = self_take_over(self.site, token, self.node_id, "no thread")
            if new is not None:
                self.threads.append(self.adopts(new, self.node_id))

    def consumes(self) -> Steps:
        while True:
            yield
            if not self.live or len(self.hands.all()) >= self.slots:
                continue
            for queue in (node_queue(self.node_id), "default"):
                if found := self.broker.take(queue):
                    self.threads.append(self.runs(*found, self.node_id))
                    break

    # A link's thread.

    def runs(self, token: Token, index: int, me: str) -> Steps:
        yield
        found = claim(self.site, token, me) if index == 0 else begin_link(self.site, token, index, me)
        if found is not None:
            yield from self.carries(found, me)

    def adopts(self, token: Token, me: str) -> Steps:
        yield
        found = resume(self.site, token, me)
        if found is not None:
            yield from self.carries(found, me)

    def carries(self, work: Assignment, me: str) -> Steps:
        hand = Hand(work.token, Control())
        if not self.hands.take(hand):
            return
        try:
            yield
            finished = yield from self.one_link(work, hand.control)
        except (NotOurs, Gone, RuntimeUnavailable):
            return
        finally:
            self.hands.drop(hand)
        yield
        if finished is not None and finished.next_index is not None:
            self.broker.send(node_queue(me), work.token, finished.next_index)
        elif finished is not None and not self.daemon.silent:
            self.daemon.remove(run_things(work.order))

    def one_link(self, work: Assignment, control: Control) -> Generator[None, None, Finished | None]:
        try:
            container, mine = yield from self.prepares(work)
        except Gone:
            give_back(self.site, work.token, "its volume is gone")
            return None
        yield
        if control.detached:
            return None
        if not confirm(self.site, work, container.id):
            yield
            if mine:
                self.daemon.remove_plainly(container.id)
            return None
        yield
        if mine:
            self.daemon.start(container.id)
        if not (yield from self.waits(container, control)):
            return None
        yield
        said = Outcome(container.code, Cause.EXITED, None, f"by {container.id}")
        return finish_link(self.site, work, container.id, said)

    def waits(self, container: Container, control: Control) -> Generator[None, None, bool]:
        """Until it ended (True), or this thread was told to let go."""
        while True:
            yield
            self.daemon.answer()
            if container.id not in self.daemon.containers:
                raise Gone(container.id)
            if container.state == "exited":
                return True
            if control.detached:
                return False
            if control.kill_for is not None:
                container.state = "exited"

    def prepares(self, work: Assignment) -> Generator[None, None, tuple[Container, bool]]:
        """The promise of `Runtime.prepare`: what is there is looked at first, and only what is absent is made."""
        order = work.order
        while True:
            yield from self.clears(order)
            yield
            found = self.daemon.named(order.name)
            if found is None:
                self.makes_volumes(order)
                yield
                made = self.daemon.create(order, _fails(work))
                if made is not None:
                    return made, True
            elif found.order.delivery > order.delivery:
                raise NotOurs("a newer delivery made it")
            elif found.state != "created":
                return found, False
            elif found.order.delivery == order.delivery:
                raise NotOurs("another thread has my token")
            else:
                found.unstartable = True
                yield
                self.daemon.remove_plainly(found.id)
            yield

    def clears(self, order: Order) -> Steps:
        """Runs of an older attempt or origin go, by force; a newer one says that this thread is fenced."""
        whose = (order.attempt, order.origin)
        here = [one for one in self.daemon.list() if one.task_id == order.task_id]
        if any((one.attempt, one.origin) > whose for one in here):
            raise NotOurs("a newer run is here")
        older = [one for one in here if (one.attempt, one.origin) < whose]
        if older:
            yield
            self.daemon.remove(older)

    def makes_volumes(self, order: Order) -> None:
        for name, _ in order.volumes:
            if order.needs_volumes and name not in self.daemon.volumes:
                raise Gone(name)
            self.daemon.volumes[name] = order

    # Whoever keeps rows and broker in step.

    def keeps(self) -> Steps:
        while True:
            yield
            yield from self.flushes()
            yield
            self.watches()
            self.restarts()
            yield
            self.resends()

    def flushes(self) -> Steps:
        with self.world.db.read() as c:
            due = outbox.due(c, 50)
        for task in due:
            yield
            self.broker.send(task.queue, task.token, 0)
            yield
            with self.world.db.begin() as c:
                if tasks.mark_sent(c, task.token):
                    events.add(c, "task", task, from_state=task.state, to_state=TaskState.SCHEDULED)

    def watches(self) -> None:
        with self.world.db.read() as c:
            beating = nodes.beating(c)
        for node in beating:
            beat, looks = self._seen.get(node.id, (node.beat, 0))
            self._seen[node.id] = (node.beat, looks + 1 if beat == node.beat else 0)
            if self._seen[node.id][1] >= LEASE_LOOKS:
                node_verbs.lapse(self.site, node)

    def restarts(self) -> None:
        with self.world.db.read() as c:
            lost = tasks.lost(c)
        self._lost = {(task.token, n): self._lost.get((task.token, n), 0) + 1 for task, n, _ in lost}
        for (token, number), looks in self._lost.items():
            if looks >= GRACE_LOOKS:
                restart(self.site, token, number)

    def resends(self) -> None:
        with self.world.db.read() as c:
            sent = outbox.scheduled(c, 50)
        self._sent = {task.token: self._sent.get(task.token, 0) + 1 for task in sent}
        late = [task for task in sent if self._sent[task.token] >= RESEND_LOOKS or self.broker.emptied]
        self.broker.emptied = False
        if late:
            resend(self.site, late, "lost")


def _numbers(token: Token) -> tuple[int, int]:
    return token.attempt, token.delivery


def _fails(work: Assignment) -> bool:
    """The first attempt of a task named so fails at its main link."""
    return work.task_name == "fails once" and work.order.kind == "main" and work.order.attempt == 1
