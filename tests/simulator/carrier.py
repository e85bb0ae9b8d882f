"""Link threads of a worker process, in the order of the real ones, which stop between any two effects.

Each step that a rule of the protocol covers is a method of its own, so that a mutant can leave it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from engine.errors import Gone, MachineFault, NotOurs, RuntimeUnavailable
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import FollowUp, finish_link
from engine.lifecycle.restart import give_back
from engine.model.names import node_queue
from engine.model.records import RunKey, Token
from engine.runtime.base import Cause, Control, Detached, Order, Outcome, Resource
from engine.worker.daemon.sweeper import run_resources
from engine.worker.execute.link_run import created_nothing
from engine.worker.running import RunningLink, RunningLinks
from tests.simulator.around import Around
from tests.simulator.daemon import Container
from tests.support.callers import TESTER, by

Steps = Generator[None, None, Any]


@dataclass(frozen=True)
class Clock:
    """Time-out of a running link: the time left when the link was taken, and whether the time was over then."""

    control: Control
    seconds_left: float
    was_late: bool


class Carrier:
    """Part of a process that runs its links."""

    def __init__(self, name: str, around: Around) -> None:
        self.name, self.rows, self.installation = name, around.rows, around.rows.world.installation
        self.daemon, self.broker = around.daemon, around.broker
        self.checker, self.story, self.stalls = around.checker, around.story, around.stalls
        self.running = RunningLinks()
        #: The clocks of what is in hand and has a bound.
        self._clocks: dict[Token, Clock] = {}
        #: How often the machine refused each link of a run.
        self._refused: Counter[tuple[RunKey, int]] = Counter()
        #: Its threads that are between a claim and a container.
        self.makes = 0
        #: SIGTERM came.
        self.leaving = False

    def tell(self, what: str, token: Token | None = None) -> None:
        """Add a line to the story."""
        self.story.tell(self.name, what, token)

    def removes(self, things: Iterable[Resource]) -> None:
        gone = list(things)
        if gone:
            self.checker.removed(self.rows, gone, self.daemon)
            self.tell(f"removes {[one.id for one in gone]} from {self.daemon.name}")
            self.daemon.remove(gone)

    def runs(self, token: Token, index: int, me: str) -> Steps:
        yield
        found = self.claims(token, me) if index == 0 else self.begins(token, index, me)
        if found is not None:
            self.tell(f"{me} begins link {index}", found.token)
            yield from self.carries(found, me)

    def claims(self, token: Token, me: str) -> Assignment | None:
        before = self.rows.task(token.task_id)
        found = claim(self.installation, by(me), token)
        if found is not None:
            self.checker.wrote("claim", token, before)
            self.checker.took("claim", self.rows.node(me))
        return found

    def begins(self, token: Token, index: int, me: str) -> Assignment | None:
        found = begin_link(self.installation, by(me), token, index)
        if found is not None:
            self.checker.wrote("begin_link", token, self.rows.task(token.task_id), me)
        return found

    def adopts(self, token: Token, me: str) -> Steps:
        yield
        found = resume(self.installation, by(me), token)
        if found is not None:
            yield from self.carries(found, me)

    def carries(self, work: Assignment, me: str) -> Steps:
        link = RunningLink(work.token, Control())
        if not self.running.add(link):
            return
        if self.leaving:
            link.control.detach()  # it was claimed just before
        if work.seconds_left is not None:
            attempt = (work.token.task_id, work.token.attempt)
            self._clocks[work.token] = Clock(link.control, work.seconds_left, attempt in self.rows.late)
        try:
            yield
            finished = yield from self.one_link(work, me, link.control)
        except MachineFault as exc:
            yield from self.stalls()
            self.is_refused(work, me, str(exc))
            return
        except (NotOurs, Gone, RuntimeUnavailable, Detached) as exc:
            self.tell(f"lets go of link {work.index}: {exc or 'told to'}", work.token)
            return
        finally:
            self._clocks.pop(work.token, None)
            self.running.remove(link)
        yield
        if finished is not None and finished.next_index is not None:
            self.broker.send(node_queue(me), work.token, finished.next_index)
        elif finished is not None and not self.daemon.silent:
            self.removes(run_resources(work.order))

    def one_link(self, work: Assignment, me: str, control: Control) -> Generator[None, None, FollowUp | None]:
        self.makes += 1
        try:
            container, mine = yield from self.prepares(work, control)
        except Gone as exc:
            yield from self.stalls()
            self.gives_back(work.token, me, str(exc))
            return None
        except Detached:
            yield from self.stalls()
            if self.gives_up(work, control):
                before = self.rows.task(work.token.task_id)
                if self.gives_back(work.token, me, "its worker leaves, and has made nothing"):
                    self.checker.restarted(self.rows, before, [self.daemon])
            if control.kill_for is not Cause.TIMEOUT:
                raise
            return self.finishes(work, me, None, Outcome(137, Cause.TIMEOUT, "while it was pulled"))
        finally:
            self.makes -= 1
        yield
        if not self.confirms(work, me, container):
            yield
            if mine:
                self.discards(container)
            return None
        outcome = yield from self.starts(container, mine, control)
        outcome = outcome or (yield from self.waits(container, control))
        yield
        return self.finishes(work, me, container, outcome)

    def starts(
        self, container: Container, mine: bool, control: Control
    ) -> Generator[None, None, Outcome | None]:
        self.makes += 1
        try:
            yield from self.stalls(0.3)
            return self.goes(container, mine, control)
        except MachineFault:
            if not (yield from self.follows_refused(container)):
                raise
            return None
        finally:
            self.makes -= 1

    def follows_refused(self, container: Container) -> Generator[None, None, bool]:
        """Return whether the container runs although its start was refused; remove it, without force, if not."""
        yield
        self.daemon.answer()
        if container.id not in self.daemon.containers:
            raise Gone(container.id)
        if container.state != "created":
            return True
        yield
        self.daemon.remove_plainly(container.id)
        if container.id in self.daemon.containers:
            raise Gone(f"{container.id} runs after all")
        return False

    def is_refused(self, work: Assignment, me: str, why: str) -> None:
        """Give the run back, charged to the machine; let go the first time, if earlier links have ended."""
        link = (work.order.run, work.index)
        self._refused[link] += 1
        if self._refused[link] == 1 and work.index > 0:
            self.tell(f"lets go of link {work.index}: {why}", work.token)
        elif self.gives_back(work.token, me, why, work.index):
            # The time of the attempt starts again.
            self.rows.late.discard((work.token.task_id, work.token.attempt))
            self.checker.refused(work.order, self.daemon)

    def gives_up(self, work: Assignment, control: Control) -> bool:
        """Return whether the process leaves and nobody could find anything of this run."""
        return self.leaving and control.detached and created_nothing(work)

    def clocks_tick(self) -> None:
        """Kill the containers whose time is over."""
        for token, clock in self._clocks.items():
            is_late = (token.task_id, token.attempt) in self.rows.late
            if clock.seconds_left <= 0 or (is_late and not clock.was_late):
                clock.control.kill(Cause.TIMEOUT)

    def gives_back(self, token: Token, me: str, why: str, refused_link: int | None = None) -> bool:
        before = self.rows.task(token.task_id)
        done = give_back(self.installation, TESTER, token, why, refused_link=refused_link)
        if done:
            self.checker.wrote("give_back", token, before, me)
            self.tell(f"gives it back: {why}", token)
        return done

    def confirms(self, work: Assignment, me: str, container: Container) -> bool:
        before = self.rows.task(work.token.task_id)
        if not confirm(self.installation, TESTER, work, container.id):
            self.tell(f"is refused to confirm {container.id}", work.token)
            return False
        self.checker.wrote("confirm", work.token, before, me)
        self.tell(f"confirms {container.id} for link {work.index}", work.token)
        return True

    def goes(self, container: Container, mine: bool, control: Control) -> Outcome | None:
        """Start the container, if this thread created it and was not told otherwise."""
        if mine and control.detached:
            raise Detached
        if mine and control.kill_for is not None:
            return Outcome(137, control.kill_for, "killed before it started")
        if mine:
            self.tell(f"starts {container.id}")
            self.daemon.start(container.id)
        return None

    def finishes(
        self, work: Assignment, me: str, container: Container | None, outcome: Outcome
    ) -> FollowUp | None:
        before = self.rows.task(work.token.task_id)
        finished = finish_link(self.installation, TESTER, work, container and container.id, outcome)
        if finished is not None:
            self.checker.wrote("finish_link", work.token, before, me)
        if finished is not None and outcome.cause is Cause.TIMEOUT:
            self.checker.timed_out(self.rows, work.token)
        how = "records" if finished is not None else "is refused to record"
        where = container.id if container else "no container"
        said = f"exit {outcome.exit_code} ({outcome.cause})"
        self.tell(f"{how} the end of link {work.index} in {where}, {said}", work.token)
        return finished

    def waits(self, container: Container, control: Control) -> Generator[None, None, Outcome]:
        """Wait until the container ended; raise Detached when this thread is told to let go."""
        while True:
            yield
            self.daemon.answer()
            if container.id not in self.daemon.containers:
                raise Gone(container.id)
            if container.state == "exited":
                cause = control.kill_for if container.code == 137 else None
                return Outcome(container.code, cause or Cause.EXITED, None, f"by {container.id}")
            if control.detached:
                raise Detached
            if control.kill_for is not None:
                self.daemon.kill(container)

    def prepares(self, work: Assignment, control: Control) -> Generator[None, None, tuple[Container, bool]]:
        """Keep the promise of `Runtime.prepare`: look first, and create only what is missing."""
        order = work.order
        while True:
            if control.detached:
                raise Detached
            yield from self.clears(order)
            yield
            found = self.daemon.named(order.name)
            if found is not None:
                if (yield from self.meets(order, found)):
                    return found, False
                continue
            if control.changed.is_set():
                raise Detached
            if not order.needs_volumes:
                self.daemon.make_volumes(order)
                yield
            yield from self.pulls(control)
            made = self.daemon.create(order, fails=_fails(work), hangs=_hangs(work))
            if made is not None:
                self.tell(f"creates {made.id} for link {order.index}", work.token)
                yield
                self.completes(order, made)
                return made, True
            yield

    def pulls(self, control: Control) -> Steps:
        """Pull a missing image; the pull ends when this thread is told anything."""
        for _ in range(self.daemon.pull()):
            yield
            if control.changed.is_set():
                raise Detached

    def meets(self, order: Order, found: Container) -> Generator[None, None, bool]:
        """Return True when the existing container must be followed or collected."""
        if found.order.delivery > order.delivery:
            raise NotOurs("a newer delivery made it")
        if found.state != "created":
            return True
        if found.order.delivery == order.delivery:
            raise NotOurs("another thread has my token")
        self.unmakes(found)
        yield from self.stalls(0.5)
        self.discards(found)
        yield
        return False

    def discards(self, one: Container) -> None:
        """Remove without force, which refuses a running container."""
        self.checker.discarded(self.rows, one)
        self.daemon.remove_plainly(one.id)

    def unmakes(self, found: Container) -> None:
        """Rename the output directory away, so that a start is refused from now on."""
        found.unstartable = True

    def completes(self, order: Order, made: Container) -> None:
        """Check a later link's volume after create, when nobody can remove it any more."""
        if order.needs_volumes and any(volume.order is None for volume in made.volumes):
            self.daemon.remove_plainly(made.id)
            for name, volume in list(self.daemon.volumes.items()):
                if volume.order is None:
                    self.daemon.remove_volume(name)
            raise Gone("its volume was made anew")

    def clears(self, order: Order) -> Steps:
        """Remove by force the runs of an older attempt or origin; a newer one means that this thread is fenced."""
        here = [(one.run, one) for one in self.daemon.list() if one.run is not None]
        here = [(run, one) for run, one in here if run.task_id == order.run.task_id]
        if any(run > order.run for run, _ in here):
            raise NotOurs("a newer run is here")
        older = [one for run, one in here if run < order.run]
        if older:
            yield
            self.removes(older)


def _fails(work: Assignment) -> bool:
    """Return whether the link must fail: the main link, in the first attempt of a task named so."""
    return work.task_name == "fails once" and work.order.kind == "main" and work.order.run.attempt == 1


def _hangs(work: Assignment) -> bool:
    """Return whether the link never ends: in the first attempt of a task named so."""
    return work.task_name == "hangs once" and work.order.kind == "main" and work.order.run.attempt == 1
