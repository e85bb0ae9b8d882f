"""Worker process in one thread: the real verbs and rows, with simulated daemons, broker and processes.

A process is some generators that stop between any two effects; a kill drops them all. The rows and every guard are
the real ones. Each step that a rule of the protocol covers is a method of its own, so that a mutant can leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.errors import RuntimeUnavailable
from engine.lifecycle import nodes as node_verbs
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.names import node_queue
from engine.model.records import RunKey, Task, Token
from engine.model.states import TaskState
from engine.runtime.base import Cause, Resource
from engine.worker.daemon.sweeper import Owners, read_owners, running_beside, unowned
from tests.simulator.around import Around
from tests.simulator.carrier import Carrier, Steps
from tests.simulator.keeper import Keeper
from tests.support.callers import TESTER, by

LOOSE_LOOKS = 3
#: Whose turn it is of the beats, the passes, the consumer, the keeping and the sweep, drawn evenly.
SHARES = (0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4)


class Worker(Carrier):
    """Worker process, whose threads are generators."""

    def __init__(self, name: str, around: Around) -> None:
        super().__init__(name, around)
        self.slots = 2
        self.node_id = ""
        #: `gone`: it left in order, and the process has ended.
        self.live = self.deaf = self.gone = False
        self.sleeps = self.hurries = self.joins_so_far = 0
        keeper = Keeper(name, around)
        self.always: list[Steps] = [
            self.beats(),
            self.passes(),
            self.consumes(),
            keeper.keeps(),
            self.keeps_clean(),
        ]
        #: Threads of links, and of whatever else ends.
        self.threads: list[Iterator[None]] = []
        self._loose: dict[Token, int] = {}

    # The node's threads.

    def beats(self) -> Steps:
        while True:
            yield
            self.clocks_tick()
            if not self.node_id:
                continue
            running = self.running.all()
            answer = self.rows.beat(self.node_id, [link.token for link in running])
            if answer is None:
                continue
            if answer.fenced:
                self.fenced()
                continue
            for link in running:
                state, attempt, delivery = answer.running.get(link.token.task_id, (None, 0, 0))
                if state is TaskState.CANCELLED:
                    link.control.kill(Cause.CANCELLED)
                elif state is not TaskState.RUNNING or (attempt, delivery) != _numbers(link.token):
                    link.control.detach()

    def fenced(self) -> None:
        self.tell(f"finds its node {self.node_id} fenced")
        self.live, self.node_id = False, ""
        self.running.detach_all()

    def passes(self) -> Steps:
        while True:
            yield
            try:
                if self.leaving:
                    yield from self.leaves(self.node_id)
                elif not self.node_id:
                    self.joins_so_far += 1
                    self.node_id = self.rows.world.joining(f"{self.name}.{self.joins_so_far}")
                    self.tell(f"is JOINING as {self.node_id}")
                elif self.deaf:
                    self.daemon.answer()
                    self.docker_answers()
                elif not self.live:
                    yield from self.joins(self.node_id)
                else:
                    yield from self.looks(self.node_id)
                    yield from self.ties_up()
            except RuntimeUnavailable:
                if not self.deaf and self.node_id:
                    self.live, self.deaf = False, True
                    node_verbs.runtime_silent(self.installation, by(self.node_id))
                    self.tell("says that its Docker is silent")

    def docker_answers(self) -> None:
        if node_verbs.runtime_back(self.installation, by(self.node_id)):
            self.deaf = False
            self.tell("joins again: its Docker answers")

    def leaves(self, me: str) -> Steps:
        """Leave after SIGTERM: claim nothing more, let go of the links, become LEFT."""
        self.live = False
        if me and node_verbs.drain(self.installation, TESTER, me):
            self.tell(f"{me} is LEAVING")
        yield
        self.running.detach_all()
        while self.running.all():
            yield
        if me and node_verbs.leave(self.installation, by(me)):
            self.tell(f"{me} has LEFT")
        self.gone = True

    def joins(self, me: str) -> Steps:
        number, _ = self.rows.lost()
        yield
        things = self.daemon.list()
        yield
        self.removes_unowned(things)
        yield
        _, lost = self.rows.lost()
        if not (yield from self.takes(me, things, [task for task, _ in lost])):
            return
        yield
        # `me`: the beat may have fenced this node while it joined.
        if (
            node_verbs.become_live(self.installation, by(me), number)
            and me == self.node_id
            and not self.leaving
        ):
            self.live = True
            self.tell(f"{me} is LIVE, looked {number}")

    def removes_unowned(self, things: Sequence[Resource]) -> None:
        owners = read_owners(self.installation, things)
        self.removes(running_beside(unowned(things, owners), owners))

    def looks(self, me: str) -> Steps:
        number, lost = self.rows.lost()
        if lost:
            yield
            things = self.daemon.list()
            yield
            yield from self.takes(me, things, [task for task, _ in lost])
        yield
        self.says_looked(me, number)

    def says_looked(self, me: str, number: int) -> None:
        if self.rows.node(me).looked < number:
            node_verbs.looked(self.installation, by(me), number)
            self.tell(f"{me} has looked {number}")

    def found(self, things: Iterable[Resource]) -> set[RunKey | None]:
        """Return the runs that have a container in any state, or only a volume, on this daemon."""
        return {thing.run for thing in things}

    def takes(self, me: str, things: list[Resource], lost: list[Task]) -> Steps:
        here, all_taken = self.found(things), True
        for task in lost:
            if task.run in here:
                yield from self.stalls()
                before = self.rows.task(task.id)
                token = take_over(self.installation, by(me), task.token, "found")
                all_taken = all_taken and token is not None
                if token is not None:
                    self.checker.wrote("take_over", task.token, before)
                    self.checker.took("take_over", self.rows.node(me))
                    self.tell(f"{me} takes over", token)
                    self.threads.append(self.adopts(token, me))
        return all_taken

    def ties_up(self) -> Steps:
        me = self.node_id
        mine = self.rows.of_node(me)
        loose = [task.token for task in mine if not self.running.has_task(task.id)]
        self._loose = {token: self._loose.get(token, 0) + 1 for token in loose}
        for token in [token for token, looks in self._loose.items() if looks >= LOOSE_LOOKS]:
            yield from self.stalls()
            before = self.rows.task(token.task_id)
            new = self_take_over(self.installation, by(me), token, "no thread")
            if new is not None:
                self.checker.wrote("self_take_over", token, before)
                self.checker.took("self_take_over", self.rows.node(me))
                self.tell("takes up its own again", new)
                self.threads.append(self.adopts(new, me))

    def consumes(self) -> Steps:
        while True:
            yield
            if not self.live or len(self.running.all()) >= self.slots:
                continue
            for queue in (node_queue(self.node_id), "default"):
                if found := self.broker.take(queue):
                    self.threads.append(self.runs(*found, self.node_id))
                    break

    def keeps_clean(self) -> Steps:
        while True:
            yield
            if not self.daemon.silent:
                yield from self.sweeps()

    def sweeps(self) -> Steps:
        """Sweep: list first, then read the rows."""
        things = self.daemon.list()
        yield
        has_thread = self.running.has_task
        owners = read_owners(self.installation, things, self.node_id, has_thread) if things else Owners()
        yield
        if not self.daemon.silent:
            self.removes(unowned(things, owners))


def _numbers(token: Token) -> tuple[int, int]:
    return token.attempt, token.delivery
