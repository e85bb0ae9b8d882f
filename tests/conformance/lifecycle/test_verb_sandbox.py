"""Sandbox of an attempt in the rows: a claim names it, leave_sandbox removes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.jobspec.task import LinkSpec, TaskSpec
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.restart import give_back
from engine.lifecycle.sandbox import NO_OFFER, SandboxOffer, leave_sandbox
from engine.lifecycle.take_over import take_over
from engine.model.records import Token
from engine.model.states import LinkState, NodeState, TaskState
from engine.store import attempts
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens

BOTH, IN_LINE = SandboxOffer("warm", "fresh"), SandboxOffer(None, "fresh")
ONE = TaskSpec("t", LinkSpec(image="i"))
TWO = replace(ONE, pre=(LinkSpec(image="i"),))
TOKENS = sorted(wrong_tokens(Token("", 1, 1)))


@pytest.mark.parametrize(
    ("spec", "offered", "sandbox"),
    [
        (ONE, BOTH, "warm"),
        (TWO, BOTH, "warm"),
        (ONE, IN_LINE, None),
        (TWO, IN_LINE, "fresh"),
        (TWO, NO_OFFER, None),
        (replace(ONE, network="none"), BOTH, None),
        (replace(TWO, networks=("backend",)), BOTH, None),
    ],
)
def test_a_sandbox_is_taken_where_it_pays_and_can_be_joined(
    spec: TaskSpec, offered: SandboxOffer, sandbox: str | None
) -> None:
    assert offered.choose(spec) == sandbox


def _joined(world: World, node: str = "n1") -> Assignment:
    """Return a task's first link, claimed with the sandbox `warm`, with a confirmed container."""
    task = world.submitted(pre=1)
    world.live(node)
    found = claim(world.installation, by(node), task.token, BOTH)
    assert found is not None and confirm(world.installation, TESTER, found, "c0")
    return found


def _network(world: World, task_id: str) -> str | None:
    return world.attempts(task_id)[0].sandbox  # type: ignore[no-any-return]


def _in_use(world: World) -> set[str]:
    with world.db.read() as c:
        return attempts.sandboxes(c)


def test_a_claim_names_its_sandbox_and_later_links_and_adopters_read_it(world: World) -> None:
    mine = _joined(world)
    id = mine.token.task_id
    assert mine.order.sandbox == _network(world, id) == "warm"
    assert _in_use(world) == {"warm"}
    assert world.end(mine) is not None
    later = begin_link(world.installation, by("n1"), mine.token, 1)
    assert later is not None and later.order.sandbox == "warm"
    world.lapse("n1")
    world.live("n2")
    token = take_over(world.installation, by("n2"), mine.token, "found")
    adopted = resume(world.installation, by("n2"), token) if token else None
    assert adopted is not None and adopted.order.sandbox == "warm"
    assert _in_use(world) == {"warm"}


def test_another_run_of_the_attempt_names_what_its_own_claim_took(world: World) -> None:
    mine = _joined(world)
    assert give_back(world.installation, TESTER, mine.token, "the sandbox died")
    assert not _in_use(world), "nobody runs in it"
    token = world.task(mine.token.task_id).token
    again = claim(world.installation, by("n1"), token)
    assert again is not None and again.order.sandbox is None
    assert _network(world, token.task_id) is None


def test_an_ended_attempts_sandbox_is_used_by_nobody(world: World) -> None:
    mine = _joined(world)
    cancel(world.installation, TESTER, mine.token.task_id)
    assert not _in_use(world)


def test_a_task_without_its_sandbox_goes_on_plainly_under_a_new_delivery(world: World) -> None:
    mine = _joined(world)
    token = leave_sandbox(world.installation, by("n1"), mine.token, "the sandbox warm does not run")
    assert token == Token(mine.token.task_id, 1, 2)
    task = world.task(token.task_id)
    assert (task.state, task.node, task.origin, task.crashes) == (TaskState.RUNNING, "n1", 1, 0)
    assert _network(world, task.id) is None and not _in_use(world)
    found = resume(world.installation, by("n1"), token)
    assert found is not None and (found.index, found.order.sandbox) == (0, None)
    assert world.links(task.id)[0].state is LinkState.CONFIRMED
    last = world.events(task.id)[-1]
    assert (last.kind, last.node, last.delivery) == ("repair", "n1", 2)
    assert last.reason == "continues without a sandbox: the sandbox warm does not run"
    assert world.end(mine) is None, "the thread of the older delivery does not speak for it any more"


@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_goes_plain_under_a_wrong_token(world: World, wrong: str) -> None:
    token = _joined(world).token
    with world.unchanged():
        assert leave_sandbox(world.installation, by("n1"), wrong_tokens(token)[wrong], "gone") is None


def test_nothing_goes_plain_on_another_node(world: World) -> None:
    token = _joined(world).token
    world.live("n2")
    with world.unchanged():
        assert leave_sandbox(world.installation, by("n2"), token, "gone") is None


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT])
def test_nothing_goes_plain_on_a_node_that_is_gone(world: World, state: NodeState) -> None:
    token = _joined(world).token
    world.lapse("n1") if state is NodeState.LAPSED else world.leave("n1")
    with world.unchanged():
        assert leave_sandbox(world.installation, by("n1"), token, "gone") is None


def test_nothing_goes_plain_that_has_ended(world: World) -> None:
    token = _joined(world).token
    cancel(world.installation, TESTER, token.task_id)
    with world.unchanged():
        assert leave_sandbox(world.installation, by("n1"), token, "gone") is None
