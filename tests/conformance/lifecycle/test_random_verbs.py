"""Random verbs in random order: only allowed transitions, job and task agree, an event for every change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.jobspec.task import Retry
from engine.lifecycle import nodes
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.cancel import AlreadyEnded, cancel, cancel_job
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import finish_link
from engine.lifecycle.resend import resend
from engine.lifecycle.restart import give_back, restart
from engine.lifecycle.take_over import self_take_over, take_over
from engine.lifecycle.timeout import timeout
from engine.model.records import Job, Link, Task, Token
from engine.model.retry import MOST_REFUSALS
from engine.model.states import TRANSITIONS, HoldKind, JobState, LinkState, TaskState
from engine.runtime.base import Cause, Outcome
from engine.store import events, jobs, links, outbox, tasks
from tests.support.callers import TESTER, by
from tests.support.verb_world import World

NODES = 3

#: What moves work on comes more often, so that runs get somewhere.
OFTEN = ["mark", "claim", "confirm", "end", "next", "looked", "take_over", "restart", "lapse"]
SELDOM = [
    "resend",
    "cancel",
    "cancel_job",
    "beat",
    "join",
    "live",
    "drain",
    "leave",
    "silent",
    "back",
    "hold",
]
VERBS = [*OFTEN, *OFTEN, "claim", "confirm", "end", *SELDOM, "self_take_over", "give_back", "timeout"]

#: (verb, which task, which node, a number that each verb reads as it likes).
STEP = st.tuples(
    st.sampled_from(VERBS),
    st.integers(0, 1),
    st.integers(0, NODES - 1),
    st.integers(0, 9),
)


@dataclass
class Play:
    """Play with two tasks, three nodes, and all assignments and tokens so far, old ones too."""

    world: World
    ids: list[str]
    names: list[str]
    assignments: list[Assignment] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    born: int = NODES

    def step(self, verb: str, which: int, where: int, n: int) -> None:
        task = self.world.task(self.ids[which])
        if task.token not in self.tokens:
            self.tokens.append(task.token)
        getattr(self, f"do_{verb}")(task, self.names[where], where, n)

    def token(self, task: Task, n: int) -> Token:
        """Return the present token mostly, else an earlier one."""
        return task.token if n < 7 else self.tokens[n % len(self.tokens)]

    def keep(self, found: Assignment | None) -> None:
        if found is not None:
            self.assignments.append(found)

    def any(self, n: int) -> Assignment | None:
        """Return the last assignment mostly, else an older one."""
        if not self.assignments:
            return None
        return self.assignments[-1 if n < 6 else n % len(self.assignments)]

    def do_mark(self, task: Task, node: str, where: int, n: int) -> None:
        token = self.token(task, n)
        marked = self.world.task(token.task_id)
        with self.world.db.begin() as c:
            aimed = replace(marked, attempt=token.attempt, delivery=token.delivery)
            if outbox.mark_sent(c, [aimed]):
                events.add(c, TESTER, "task", marked, from_state=marked.state, to_state=TaskState.SCHEDULED)

    def do_claim(self, task: Task, node: str, where: int, n: int) -> None:
        self.keep(claim(self.world.installation, by(node), self.token(task, n)))

    def do_confirm(self, task: Task, node: str, where: int, n: int) -> None:
        if found := self.any(n):
            confirm(self.world.installation, TESTER, found, f"c{found.index}-{n % 2}")

    def do_end(self, task: Task, node: str, where: int, n: int) -> None:
        if found := self.any(n):
            code = 0 if n % 3 else 1
            container = None if n == 8 else f"c{found.index}-{where % 2}"
            message = None if code == 0 else "bad"
            finish_link(
                self.world.installation,
                TESTER,
                found,
                container,
                Outcome(code, Cause.EXITED, message, "result"),
            )

    def do_next(self, task: Task, node: str, where: int, n: int) -> None:
        self.keep(begin_link(self.world.installation, by(node), self.token(task, n), n % 4))

    def do_resend(self, task: Task, node: str, where: int, n: int) -> None:
        resend(self.world.installation, TESTER, [task], "test")

    def do_cancel(self, task: Task, node: str, where: int, n: int) -> None:
        if n == 0:
            _cancel(self.world, task, whole_job=False)

    def do_cancel_job(self, task: Task, node: str, where: int, n: int) -> None:
        if n == 0:
            _cancel(self.world, task, whole_job=True)

    def do_beat(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.beat(self.world.installation, by(node), self.ids)

    def do_lapse(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.lapse(self.world.installation, TESTER, self.world.node(node))

    def do_join(self, task: Task, node: str, where: int, n: int) -> None:
        if self.world.node(node).state.is_gone:
            self.names[where] = self.world.joining(f"n{self.born}")
            self.born += 1

    def do_live(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.become_live(self.world.installation, by(node), self.world.last_lapse)

    def do_drain(self, task: Task, node: str, where: int, n: int) -> None:
        if n < 3:
            nodes.drain(self.world.installation, TESTER, node)

    def do_leave(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.leave(self.world.installation, by(node))

    def do_looked(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.looked(self.world.installation, by(node), self.world.last_lapse)

    def do_silent(self, task: Task, node: str, where: int, n: int) -> None:
        if n < 3:
            nodes.runtime_silent(self.world.installation, by(node))

    def do_back(self, task: Task, node: str, where: int, n: int) -> None:
        nodes.runtime_back(self.world.installation, by(node))

    def do_hold(self, task: Task, node: str, where: int, n: int) -> None:
        if n < 5:
            nodes.hold(self.world.installation, by(node), HoldKind.RUNTIME, "test")
        else:
            nodes.release(self.world.installation, by(node), HoldKind.RUNTIME)

    def do_take_over(self, task: Task, node: str, where: int, n: int) -> None:
        if token := take_over(self.world.installation, by(node), self.token(task, n), "found"):
            self.keep(resume(self.world.installation, by(node), token))

    def do_self_take_over(self, task: Task, node: str, where: int, n: int) -> None:
        if token := self_take_over(self.world.installation, by(node), self.token(task, n), "test"):
            self.keep(resume(self.world.installation, by(node), token))

    def do_restart(self, task: Task, node: str, where: int, n: int) -> None:
        number = self.world.node(task.node).lapse_no if task.node else None
        restart(
            self.world.installation,
            TESTER,
            self.token(task, n),
            number if number is not None and n < 8 else n,
        )

    def do_give_back(self, task: Task, node: str, where: int, n: int) -> None:
        if n < 3:
            give_back(self.world.installation, TESTER, self.token(task, n), "test")
        else:
            give_back(self.world.installation, TESTER, self.token(task, n), "test", refused_link=n % 3)

    def do_timeout(self, task: Task, node: str, where: int, n: int) -> None:
        timeout(self.world.installation, TESTER, self.token(task, n))


def _cancel(world: World, task: Task, *, whole_job: bool) -> None:
    try:
        _ = (
            cancel_job(world.installation, TESTER, task.job_id)
            if whole_job
            else cancel(world.installation, TESTER, task.id)
        )
    except AlreadyEnded:
        assert task.state.ended and task.state is not TaskState.CANCELLED


@given(steps=st.lists(STEP, min_size=5, max_size=45))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking takes minutes on a database, and the steps of a failure read well as they are.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_any_verbs_in_any_order_keep_the_rules(world: World, steps: list[tuple[str, int, int, int]]) -> None:
    world.wipe()
    world = world.with_settings(max_crashes=3)
    ids = [
        world.submitted(pre=1, post=2, always=True, retry=Retry(limit=1)).id,
        world.submitted(timeout="1ms").id,
    ]
    play = Play(world, ids, [world.live(f"n{n}") for n in range(NODES)])
    before = [_seen(world, id) for id in ids]
    told = world.events()[-1].cursor
    for step in steps:
        play.step(*step)
        after = [_seen(world, id) for id in ids]
        said = world.events_after(told)
        told = said[-1].cursor if said else told
        for (old, _, old_links), (new, job, new_links) in zip(before, after, strict=True):
            _check_task(old, new)
            _check_job(new, job)
            _check_links(old_links, new_links)
            changes = {(e.from_state, e.to_state) for e in said if e.task_id == new.id}
            if old.state is not new.state or old.token != new.token:
                assert (old.state, new.state) in changes, (step, said)
        before = after


def _seen(world: World, id: str) -> tuple[Task, Job, list[Link]]:
    with world.db.read() as c:
        task = tasks.get(c, id)
        assert task is not None
        job = jobs.get(c, task.job_id)
        assert job is not None
        return task, job, links.of_tasks(c, [id])


def _check_task(old: Task, new: Task) -> None:
    if old.state.ended:
        assert new == old
    if old.state is not new.state:
        assert (old.state, new.state) in TRANSITIONS
    assert (new.attempt, new.delivery) >= (old.attempt, old.delivery)
    assert (new.node is not None) == (new.state is TaskState.RUNNING) or new.state.ended
    if new.state is TaskState.RUNNING:
        assert 1 <= new.origin <= new.delivery
    assert new.attempt <= 2 and new.crashes <= 3 and len(new.refusals) < MOST_REFUSALS


def _check_job(task: Task, job: Job) -> None:
    """Check the job of one task: it began with the first claim and ended with the task, in the same state."""
    if task.state.ended or job.state.ended:
        assert str(task.state) == str(job.state)
        if task.state is not TaskState.CANCELLED:
            assert (job.result, job.error) == (task.result, task.error)
    else:
        assert job.state is (JobState.RUNNING if task.started_at else JobState.PENDING)


def _check_links(old: list[Link], new: list[Link]) -> None:
    rows = {(link.attempt, link.origin, link.index): link for link in new}
    for link in old:
        now = rows[link.attempt, link.origin, link.index]
        if link.state in (LinkState.ENDED, LinkState.SKIPPED):
            assert now == link
        elif link.state is LinkState.CONFIRMED:
            assert now.state in (LinkState.CONFIRMED, LinkState.ENDED)
            assert (now.confirmed_by or 0) >= (link.confirmed_by or 0)
