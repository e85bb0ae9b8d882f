"""Checker of six promises, on the rows and the daemons of a simulated installation.

I1: every accepted task ends once the faults stop. I2: an attempt has one recorded end, and a fenced writer changes
nothing. I3: two containers of a task never run at once on one daemon, and no container runs twice. I4: the recorded
result is from the container that the row names; links run in order; a later link never gets a new volume.
I5: nothing of the installation is left. I6: no crash uses a retry, and only a lapse counts as a crash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from engine.model.records import Event, Link, Node, Task, Token
from engine.model.retry import MOST_REFUSALS
from engine.model.states import TRANSITIONS, LinkState, NodeState, TaskState
from engine.runtime.base import Order, Resource
from tests.simulator.daemon import Container, Daemon
from tests.simulator.sim_rows import Rows
from tests.simulator.story import Story

#: From which states a verb may change a row; all others from RUNNING.
_FROM = {
    "claim": (TaskState.PENDING, TaskState.SCHEDULED),
    "mark_sent": (TaskState.PENDING,),
    "resend": (TaskState.SCHEDULED,),
}
_LAPSED = re.compile(r"(adopted from|started again:) node \S+ (\(|is )LAPSED")


class Broken(AssertionError):
    """Report of a broken promise; the text ends with the story."""

    def __init__(self, promise: str, words: str, story: Story) -> None:
        super().__init__(f"{promise}: {words}\n{story}")
        self.promise, self.words = promise, words


def is_current(one: Resource | Order, task: Task) -> bool:
    """Return whether the resource belongs to the run that the row is in."""
    return task.state is TaskState.RUNNING and one.run == task.run


class Checker:
    """Observer of each start of a container, each write under a token, and all rows at the end."""

    #: What the rows say; set once they are there.
    rows: Rows

    def __init__(self, story: Story) -> None:
        self._story = story
        self._starts = 0
        self._seen: object = None

    def _hold(self, promise: str, words: str, holds: bool) -> None:
        if not holds:
            raise Broken(promise, words, self._story)

    # While it runs.

    def started(self, daemon: Daemon, one: Container) -> None:
        """Check I3 and I4 whenever a container begins to run."""
        self._starts += 1
        self._hold("I3", f"{one.id} ran before and runs again", one.starts == 1)
        if is_current(one.order, self.rows.task(one.order.run.task_id)):
            link = next(link for link in self.rows.run_of(one.order) if link.index == one.order.index)
            words = f"{one.id} is started, but the row names {link.container_id}"
            self._hold("I4", words, link.container_id == one.id)
        run = one.order.run
        beside = [
            other.id
            for other in daemon.containers.values()
            if other.order.run.task_id == run.task_id and other.state == "running" and other is not one
        ]
        self._hold("I3", f"{one.id} runs beside {beside} on {daemon.name}", not beside)
        if one.order.index == 0 or not one.volumes:
            return
        first = [
            other
            for other in daemon.past
            if other.order.run == run and other.order.index == 0 and other.starts
        ]
        kept = bool(first) and [v.serial for v in first[-1].volumes] == [v.serial for v in one.volumes]
        self._hold("I4", f"link {one.order.index} in {one.id} runs over a fresh volume", kept)

    def former_runs(self, rows: Rows, daemons: Sequence[Daemon]) -> None:
        """Check I3 between daemons: no former run of an open task runs where a LIVE node could remove it (R1)."""
        now = (rows.as_they_are(), self._starts)
        if now == self._seen:
            return
        self._seen = now
        for daemon in daemons:
            for one in daemon.containers.values():
                if one.state == "running":
                    task = rows.task(one.order.run.task_id)
                    current = task.state.ended or is_current(one.order, task)
                    words = f"{one.id} runs, of a former run, and {daemon.name} has a LIVE node"
                    self._hold("I3", words, current or not rows.serves(daemon.name))

    def wrote(self, verb: str, token: Token, before: Task, by: str | None = None) -> None:
        """Check I2 for an accepted write: `before` is the row before it, `by` the thread's node."""
        allowed = _FROM.get(verb, (TaskState.RUNNING,))
        words = f"{verb} under {token} changed a row that was {before.state} under {before.token}"
        self._hold("I2", words, before.token == token and before.state in allowed)
        self._hold("I2", f"{verb} by {by}, but the row names {before.node}", by in (None, before.node))

    def restarted(self, rows: Rows, before: Task, daemons: Sequence[Daemon]) -> None:
        """Check P5: nothing was removed that a serving node could have adopted."""
        links = rows.run_of(before)
        confirmed = {link.container_id for link in links if link.state is LinkState.CONFIRMED}
        ended = {link.container_id for link in links if link.state is LinkState.ENDED}
        for daemon in (daemon for daemon in daemons if rows.serves(daemon.name, NodeState.JOINING)):
            kept = [one.id for one in daemon.containers.values() if one.id in confirmed]
            filled = {v.serial for one in daemon.past if one.id in ended for v in one.volumes}
            # One that Docker made in place of a missing one has no labels: nobody could find it.
            labelled = {name: volume for name, volume in daemon.volumes.items() if volume.order is not None}
            kept += [name for name, volume in labelled.items() if volume.serial in filled]
            words = f"{before.name} starts again, but {daemon.name} has {kept} and a node that serves"
            self._hold("P5", words, not kept)

    def timed_out(self, rows: Rows, token: Token) -> None:
        """Check I6: a time-out ends an attempt, and uses the attempt's retry, only when the time is over."""
        words = f"attempt {token.attempt} is timed out before its time"
        self._hold("I6", words, (token.task_id, token.attempt) in rows.late)

    def given_up(self, rows: Rows, before: Task, daemons: Sequence[Daemon]) -> None:
        """Check I3: an attempt that is ended from afar has no container running where a node serves."""
        living = before.node is not None and rows.node(before.node).state.has_beat
        self._hold("I3", f"{before.name} is timed out under {before.node}, which lives", not living)
        run = before.run
        for daemon in (daemon for daemon in daemons if rows.serves(daemon.name, NodeState.JOINING)):
            on = [
                one.id
                for one in daemon.containers.values()
                if one.state == "running" and one.order.run == run
            ]
            self._hold(
                "I3", f"{before.name} is timed out, but {on} runs on {daemon.name}, which serves", not on
            )

    def removed(self, rows: Rows, things: Iterable[Resource], daemon: Daemon) -> None:
        """Check I5: resources that are about to be removed by force belong to no run that goes on."""
        for thing in things:
            assert thing.run is not None, "the simulator has no sandboxes"
            task = rows.task(thing.run.task_id)
            users = daemon.users(thing.name) if thing.kind == "volume" else []
            lives = any(is_current(one, task) for one in (thing, *users))
            self._hold("I5", f"{thing.name} is removed under {task.token}, which runs", not lives)

    def discarded(self, rows: Rows, one: Container) -> None:
        """Check I5: a container that is removed as never started has not run meanwhile."""
        lives = is_current(one.order, rows.task(one.order.run.task_id))
        words = f"{one.id} has run, and its result is removed before it is recorded"
        self._hold("I5", words, not (lives and one.state == "exited"))

    def refused(self, order: Order, daemon: Daemon) -> None:
        """Check P5: no container of a link has begun that is given back because its machine could not begin it."""
        begun = [one.id for one in daemon.containers.values() if one.order.name == order.name and one.starts]
        self._hold("P5", f"{order.name} is given back, but {begun} began", not begun)

    def took(self, verb: str, node: Node) -> None:
        """Check I2: a fenced node gets no work, and a JOINING one only takes over."""
        allowed = (NodeState.LIVE, NodeState.JOINING) if verb == "take_over" else (NodeState.LIVE,)
        self._hold("I2", f"{verb} by {node.id}, which is {node.state}", node.state in allowed)

    # When the faults have stopped.

    def not_over(self, tasks: Sequence[Task], daemons: Sequence[Daemon]) -> None:
        """Check what holds when the steps are used up."""
        open_ones = [f"{task.name} is {task.state}" for task in tasks if not task.state.ended]
        self._hold("I1", f"did not end: {open_ones}", not open_ones)
        self.nothing_left(daemons)

    def nothing_left(self, daemons: Sequence[Daemon]) -> None:
        """Check I5: nothing with the installation's labels is left."""
        left = [thing.name for daemon in daemons for thing in daemon.list()]
        self._hold("I5", f"left behind: {left}", not left)

    def ended_nodes(self, told: Sequence[Event]) -> None:
        """Check I2 for nodes: nothing leaves LAPSED or LEFT."""
        over: set[str | None] = set()
        for event in told:
            if event.kind == "node" and event.to_state:
                self._hold("I2", f"{event.node} is {event.to_state} after its end", event.node not in over)
                if NodeState(event.to_state).is_gone:
                    over.add(event.node)

    def ended(self, rows: Rows, task_id: str, daemons: Sequence[Daemon], cancels: int) -> None:
        """Check all promises of one ended task's rows."""
        task = rows.task(task_id)
        told = [e for e in rows.world.events(task_id) if e.from_state and e.kind in ("task", "repair")]
        for event in told:
            allowed = (event.from_state, event.to_state) in TRANSITIONS
            self._hold("I2", f"{event.from_state} -> {event.to_state} is no transition", allowed)
        self._one_end(task, told)
        self._no_retry_used(task, told)
        well = task.state is TaskState.COMPLETED or (task.state is TaskState.CANCELLED and cancels > 0)
        well = well or (task.state is TaskState.FAILED and len(task.refusals) == MOST_REFUSALS - 1)
        self._hold("I6", f"{task.name} has {task.refusals}", len(task.refusals) < MOST_REFUSALS)
        self._hold("I6", f"{task.name} is {task.state}: {task.error}", well)
        if task.state is TaskState.COMPLETED:
            self._result(task, rows.run_of(task), {one.id: one for daemon in daemons for one in daemon.past})

    def _one_end(self, task: Task, told: Sequence[Event]) -> None:
        ends = [e for e in told if e.to_state and TaskState(e.to_state).ended]
        self._hold("I2", f"{task.name} ended {len(ends)} times", len(ends) == 1)
        left = Counter(e.attempt for e in told if e.kind == "task" and e.from_state == TaskState.RUNNING)
        more = {attempt: n for attempt, n in left.items() if n > 1}
        self._hold("I2", f"{task.name}: attempts with several recorded ends: {more}", not more)

    def _no_retry_used(self, task: Task, told: Sequence[Event]) -> None:
        retries = [
            e for e in told if (e.kind, e.from_state, e.to_state) == ("task", "RUNNING", TaskState.PENDING)
        ]
        due = 1 if task.name in ("fails once", "hangs once") else 0
        words = f"{task.name} is at attempt {task.attempt} after {len(retries)} failures"
        self._hold("I6", words, task.attempt == 1 + len(retries) and len(retries) <= due)
        lapses = [e for e in told if e.attempt == task.attempt and _LAPSED.match(e.reason or "")]
        words = f"{task.name} counts {task.crashes} crashes after {len(lapses)} lapses"
        self._hold("I6", words, task.crashes == len(lapses))

    def _result(self, task: Task, run: Sequence[Link], past: dict[str, Container]) -> None:
        bad = [link.index for link in run if link.state is not LinkState.ENDED or link.exit_code != 0]
        self._hold("I4", f"{task.name} is COMPLETED, but its links {bad} did not end well", not bad)
        main = next(link for link in run if link.kind == "main")
        words = f"the result {task.result!r} is not that of {main.container_id}"
        self._hold("I4", words, task.result == f"by {main.container_id}")
        latest = -1
        for link in run:
            one = past[str(link.container_id)]
            in_order = one.began is not None and one.ended is not None and latest < one.began < one.ended
            self._hold("I4", f"link {link.index} in {one.id} ran out of its order", in_order)
            latest = one.ended or 0
