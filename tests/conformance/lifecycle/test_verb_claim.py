"""claim and begin_link: each guard violated once, and the good way."""

from __future__ import annotations

import pytest

from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.take_over import self_take_over
from engine.model import names
from engine.model.records import RunKey, Token
from engine.model.states import JobState, LinkState, NodeState, TaskState
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens

TOKENS = sorted(wrong_tokens(Token("", 1, 1)))


@pytest.mark.parametrize("sent", [False, True], ids=["PENDING", "SCHEDULED"])
def test_a_live_node_claims_what_waits(world: World, sent: bool) -> None:
    world.live()
    task = world.scheduled(pre=1, post=1) if sent else world.submitted(pre=1, post=1)
    found = claim(world.installation, by("n1"), task.token)
    assert found is not None
    assert (found.token, found.index, found.order.kind) == (task.token, 0, "pre")
    after = world.task(task.id)
    assert (after.state, after.node, after.origin) == (TaskState.RUNNING, "n1", 1)
    assert after.held_since and after.started_at
    assert [(link.kind, link.state) for link in world.links(task.id)] == [
        ("pre", LinkState.WAITING),
        ("main", LinkState.WAITING),
        ("post", LinkState.WAITING),
    ]
    assert world.job_of(task.id).state is JobState.RUNNING
    assert [a.state for a in world.attempts(task.id)] == [TaskState.RUNNING]
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state, last.node) == ("task", task.state, "RUNNING", "n1")
    assert last.author == "node:n1"


@pytest.mark.parametrize("wrong", TOKENS)
def test_a_wrong_token_claims_nothing(world: World, wrong: str) -> None:
    world.live()
    token = wrong_tokens(world.scheduled().token)[wrong]
    with world.unchanged():
        assert claim(world.installation, by("n1"), token) is None


@pytest.mark.parametrize("state", [s for s in NodeState if s is not NodeState.LIVE])
def test_a_node_that_is_not_live_claims_nothing(world: World, state: NodeState) -> None:
    task = world.scheduled()
    world.in_state("n1", state)
    with world.unchanged():
        assert claim(world.installation, by("n1"), task.token) is None


def test_an_unknown_node_claims_nothing(world: World) -> None:
    task = world.scheduled()
    with world.unchanged():
        assert claim(world.installation, by("nobody"), task.token) is None


def test_a_copy_of_a_claimed_message_claims_nothing(world: World) -> None:
    token = world.claimed().token
    world.live("n2")
    with world.unchanged():
        assert claim(world.installation, by("n1"), token) is None
        assert claim(world.installation, by("n2"), token) is None


def test_a_message_of_a_cancelled_task_claims_nothing(world: World) -> None:
    world.live()
    task = world.scheduled()
    cancel(world.installation, TESTER, task.id)
    with world.unchanged():
        assert claim(world.installation, by("n1"), task.token) is None


def test_a_message_of_an_ended_task_claims_nothing(world: World) -> None:
    found = world.confirmed()
    world.end(found)
    with world.unchanged():
        assert claim(world.installation, by("n1"), found.token) is None


def test_the_names_hold_the_installation_task_attempt_origin_and_link(world: World) -> None:
    found = world.claimed(pre=1, volumes=("/tmp", "/data"))
    task = found.token.task_id
    assert found.order.name == names.container(world.installation.id, RunKey(task, 1, 1), 0)
    assert found.order.volumes == (
        (names.volume(world.installation.id, RunKey(task, 1, 1), 0), "/tmp"),
        (names.volume(world.installation.id, RunKey(task, 1, 1), 1), "/data"),
    )
    assert not found.order.needs_volumes


def _second(world: World, **fields: object) -> Token:
    """Return the token of a task with three links, of which the first has ended well."""
    found = world.confirmed(pre=1, post=1, **fields)
    finished = world.end(found)
    assert finished is not None and finished.next_index == 1 and finished.chain_goes_on
    return found.token


def test_only_a_node_claims(world: World) -> None:
    task = world.scheduled()
    with world.unchanged(), pytest.raises(TypeError, match="user:tester is not a node"):
        claim(world.installation, TESTER, task.token)


def test_the_next_link_begins_where_the_first_ran(world: World) -> None:
    token = _second(world, volumes=("/tmp",))
    found = begin_link(world.installation, by("n1"), token, 1)
    assert found is not None and found.order.kind == "main" and found.order.needs_volumes


@pytest.mark.parametrize("wrong", TOKENS)
def test_the_next_link_does_not_begin_under_a_wrong_token(world: World, wrong: str) -> None:
    assert begin_link(world.installation, by("n1"), wrong_tokens(_second(world))[wrong], 1) is None


def test_the_next_link_does_not_begin_on_another_node(world: World) -> None:
    token = _second(world)
    assert begin_link(world.installation, by(world.live("n2")), token, 1) is None


def test_no_link_begins_before_those_before_it_ended(world: World) -> None:
    token = _second(world)
    assert begin_link(world.installation, by("n1"), token, 2) is None


def test_no_link_begins_beyond_the_last(world: World) -> None:
    assert begin_link(world.installation, by("n1"), _second(world), 3) is None


def test_an_ended_link_does_not_begin_again(world: World) -> None:
    assert begin_link(world.installation, by("n1"), _second(world), 0) is None


def test_a_confirmed_link_does_not_begin_again(world: World) -> None:
    token = _second(world)
    found = begin_link(world.installation, by("n1"), token, 1)
    assert found is not None and confirm(world.installation, TESTER, found, "c1")
    assert begin_link(world.installation, by("n1"), token, 1) is None


def test_no_link_begins_of_a_cancelled_task(world: World) -> None:
    token = _second(world)
    cancel(world.installation, TESTER, token.task_id)
    assert begin_link(world.installation, by("n1"), token, 1) is None


def test_an_always_post_begins_after_a_failure_and_no_other(world: World) -> None:
    found = world.confirmed(pre=1, post=2, always=True)
    finished = world.end(found, 3)
    assert finished is not None
    assert (finished.next_index, finished.chain_goes_on, finished.ok) == (3, False, False)
    assert begin_link(world.installation, by("n1"), found.token, 1) is None
    assert begin_link(world.installation, by("n1"), found.token, 2) is None
    assert begin_link(world.installation, by("n1"), found.token, 3) is not None


def test_resume_gives_the_first_link_that_is_open(world: World) -> None:
    token = _second(world)
    found = resume(world.installation, by("n1"), token)
    assert found is not None and found.index == 1
    assert confirm(world.installation, TESTER, found, "c1")
    again = self_take_over(world.installation, by("n1"), token, "test")
    assert again is not None
    found = resume(world.installation, by("n1"), again)
    assert found is not None and found.index == 1


def test_resume_gives_nothing_for_another_token_node_or_state(world: World) -> None:
    token = _second(world)
    world.live("n2")
    for wrong in wrong_tokens(token).values():
        assert resume(world.installation, by("n1"), wrong) is None
    assert resume(world.installation, by("n2"), token) is None
    cancel(world.installation, TESTER, token.task_id)
    assert resume(world.installation, by("n1"), token) is None


def test_what_is_left_of_the_time_shrinks_with_the_attempts_age(world: World) -> None:
    found = world.confirmed(pre=1, timeout="1h")
    assert found.seconds_left is not None and found.seconds_left > 3590
    world.end(found)
    world.set_attempt(found.token.task_id, started_at=world.now - 3_000_000)
    later = begin_link(world.installation, by("n1"), found.token, 1)
    assert later is not None and later.seconds_left is not None
    assert 595 < later.seconds_left <= 600 and later.bound == "1h"


def test_a_task_without_a_time_out_has_the_ceiling_of_the_worker(world: World) -> None:
    task = world.scheduled()
    world.live()
    bounded = world.with_settings(max_timeout_seconds=5400.0)
    found = claim(bounded.installation, by("n1"), task.token)
    assert found is not None and found.seconds_left is not None
    assert (5390 < found.seconds_left <= 5400, found.bound) == (True, "90m (FERRYMAN_MAX_TIMEOUT_SECONDS)")


def test_the_default_memory_is_never_above_the_ceiling(world: World) -> None:
    task = world.scheduled()
    world.live()
    bounded = world.with_settings(max_memory="1g", default_memory="2g")
    found = claim(bounded.installation, by("n1"), task.token)
    assert found is not None and found.order.memory_bytes == 1 << 30


def test_an_always_post_after_a_failure_has_the_whole_bound_anew(world: World) -> None:
    found = world.confirmed(post=1, always=True, timeout="1h")
    world.set_attempt(found.token.task_id, started_at=world.now - 3_600_000)
    world.end(found, 137)
    later = begin_link(world.installation, by("n1"), found.token, 1)
    assert later is not None and later.seconds_left == 3600
