"""Weakened workers, one rule at a time: a subclass for each, or a patch of the keeper."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import pytest

from engine.lifecycle import nodes as node_verbs
from engine.model.records import Task
from engine.model.states import NodeState
from engine.runtime.base import Control, Order, Outcome, Resource
from engine.store import nodes, tables, tasks
from engine.worker.daemon.sweeper import Owners, run_resources, unowned
from tests.simulator.carrier import Steps
from tests.simulator.daemon import Container
from tests.simulator.keeper import Keeper
from tests.simulator.sim_worker import Worker
from tests.support.callers import by

Patch = pytest.MonkeyPatch


class FindsNo(Worker):
    """Worker whose pass overlooks some of the resources on the daemon."""

    blind_to: Callable[[Resource], bool]

    def found(self, things: Iterable[Resource]) -> set[tuple[str, int, int]]:
        return super().found(thing for thing in things if not type(self).blind_to(thing))


class FindsNoCreated(FindsNo):
    blind_to = staticmethod(lambda thing: thing.state == "created")


class FindsNoExited(FindsNo):
    blind_to = staticmethod(lambda thing: thing.state == "exited")


class FindsNoVolume(FindsNo):
    blind_to = staticmethod(lambda thing: thing.kind == "volume")


class TakesWithoutFinding(Worker):
    """Worker that takes over lost tasks wherever they ran (takeover-found)."""

    def takes(self, me: str, things: list[Resource], lost: list[Task]) -> Steps:
        anywhere = [Resource("volume", "", "", task.run) for task in lost]
        return super().takes(me, anywhere, lost)


class LooksAtNothingRefused(Worker):
    """Worker that takes every refused start for one that was not made (refused-unlooked)."""

    def follows_refused(self, container: Container) -> Generator[None, None, bool]:
        yield
        return False


class JoinsWithoutRemoval(Worker):
    def removes_unowned(self, things: Sequence[Resource]) -> None:
        return


class JoinsWithoutAdopting(Worker):
    def takes(self, me: str, things: list[Resource], lost: list[Task]) -> Steps:
        return super().takes(me, things, lost if self.live else [])


class JoinsBlind(Worker):
    """Worker that becomes LIVE without a look at the daemon."""

    def joins(self, me: str) -> Steps:
        number, _ = self.rows.lost()
        yield
        self.live = node_verbs.become_live(self.installation, by(me), number) and me == self.node_id


class LooksFirst(Worker):
    """Worker that writes `looked` before it takes over."""

    def looks(self, me: str) -> Steps:
        number, lost = self.rows.lost()
        yield
        things = self.daemon.list()
        self.says_looked(me, number)
        yield
        yield from self.takes(me, things, [task for task, _ in lost])


class LooksLate(Worker):
    """Worker that reads the lapse number after the rows and the list."""

    def looks(self, me: str) -> Steps:
        _, lost = self.rows.lost()
        yield
        things = self.daemon.list()
        yield
        yield from self.takes(me, things, [task for task, _ in lost])
        yield
        self.says_looked(me, self.rows.lost()[0])


class OkAtOnce(Worker):
    """Worker that is LIVE again as soon as Docker answers again."""

    def docker_answers(self) -> None:
        with self.installation.db.begin() as c:
            nodes.set_runtime_ok(c, self.node_id, True)
        me = self.rows.node(self.node_id)
        self.deaf, self.live = False, me.state is NodeState.LIVE


class SameNodeId(Worker):
    """Worker that joins under its old id after it was fenced."""

    def fenced(self) -> None:
        me = self.node_id
        super().fenced()
        self.node_id = me
        at = tables.nodes
        with self.installation.db.begin() as c:
            c.execute(
                at.update().where(at.c.id == me).values(state=NodeState.JOINING, lapse_no=None, looked=0)
            )


class StartsExited(Worker):
    """Worker that starts an exited container instead of collecting it."""

    def goes(self, container: Container, mine: bool, control: Control) -> Outcome | None:
        return super().goes(container, mine or container.state == "exited", control)


class StartsCreated(Worker):
    """Worker that confirms and starts a container created by an older delivery."""

    def meets(self, order: Order, found: Container) -> Any:
        if found.state == "created" and found.order.delivery < order.delivery:
            yield
            return True
        return (yield from super().meets(order, found))

    def goes(self, container: Container, mine: bool, control: Control) -> Outcome | None:
        return super().goes(container, mine or container.state == "created", control)


class UnmakesNothing(Worker):
    """Worker that removes a created container without making it unstartable first."""

    def unmakes(self, found: Container) -> None:
        return


class ChecksNoVolume(Worker):
    def completes(self, order: Order, made: Container) -> None:
        return


class ClearsNothing(Worker):
    """Worker that leaves older runs of the task beside the new one."""

    def clears(self, order: Order) -> Steps:
        return
        yield


class SweepsRowsFirst(Worker):
    """Worker whose sweep reads the rows before it lists."""

    def sweeps(self) -> Steps:
        with self.rows.world.db.read() as c:
            ids = list(self.story.names)
            states = tasks.states(c, ids)
        yield
        if self.daemon.silent:
            return
        things = self.daemon.list()
        yield
        if not self.daemon.silent:
            self.removes(unowned(things, Owners(states)))


class RemovesWhenRefused(Worker):
    """Worker that removes the run's containers after a refused finish."""

    def finishes(self, work: Any, me: str, container: Container | None, outcome: Outcome) -> Any:
        finished = super().finishes(work, me, container, outcome)
        if finished is None:
            self.removes(run_resources(work.order))
        return finished


class GivesBackAll(Worker):
    """Worker that leaves and gives back runs which an older delivery may have begun."""

    def gives_up(self, work: Any, control: Control) -> bool:
        return self.leaving and control.detached


class GivesBackNothing(Worker):
    """Worker that leaves and gives nothing back: it only lets go of what it has not begun."""

    def gives_up(self, work: Any, control: Control) -> bool:
        return False


class HasNoClock(Worker):
    """Worker without time-outs."""

    def clocks_tick(self) -> None:
        return


class TiesNothingUp(Worker):
    def ties_up(self) -> Steps:
        return
        yield


class IgnoresConfirm(Worker):
    """Worker that starts the container after a refused confirm."""

    def confirms(self, work: Any, me: str, container: Container) -> bool:
        super().confirms(work, me, container)
        return True


def _nothing(self: Keeper) -> Steps:
    return
    yield


def no_resend(patch: Patch) -> type[Worker]:
    patch.setattr(Keeper, "resends", _nothing)
    return Worker


def no_restart(patch: Patch) -> type[Worker]:
    patch.setattr(Keeper, "restarts", _nothing)
    return Worker


def no_lapse(patch: Patch) -> type[Worker]:
    patch.setattr(Keeper, "watches", lambda self: None)
    return Worker


def no_timeout(patch: Patch) -> type[Worker]:
    patch.setattr(Keeper, "times_out", _nothing)
    return Worker


def mark_first(patch: Patch) -> type[Worker]:
    """Mark a task as SCHEDULED before publishing the message."""

    def flushes(self: Keeper, task: Task) -> Any:
        self.marks(task)
        yield
        self.broker.send(task.queue, task.token, 0)

    patch.setattr(Keeper, "flushes", flushes)
    return Worker
