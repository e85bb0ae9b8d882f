"""give_back that is charged to a machine: its count, its delay, its bounds, the attempt's time, and the new start."""

from __future__ import annotations

import pytest

from engine.jobspec.task import Retry
from engine.lifecycle.claim import begin_link, claim
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import finish_link
from engine.lifecycle.restart import give_back
from engine.model.records import Token
from engine.model.retry import MOST_REFUSALS, MOST_REFUSED_MS
from engine.model.states import JobState, LinkState, TaskState
from engine.runtime.base import Cause, Outcome
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens

TOKENS = sorted(wrong_tokens(Token("", 1, 1)))


def _refuse(world: World, token: Token, link: int = 0, why: str = "no bridge") -> bool:
    return give_back(world.installation, by("n1"), token, why, refused_link=link)


def _claim(world: World, task_id: str, node: str = "n1") -> Token:
    world.set(task_id, not_before=0)
    found = claim(world.installation, by(node), world.task(task_id).token)
    assert found is not None
    return found.token


def test_a_refused_link_is_given_back_to_start_again_later_without_a_retry(world: World) -> None:
    found = world.confirmed(retry=Retry(limit=1))
    assert _refuse(world, found.token, why="no\nbridge")
    task = world.task(found.token.task_id)
    assert (task.state, task.node, task.attempt, task.delivery, task.crashes) == ("PENDING", None, 1, 2, 0)
    assert [(r.node, r.link, r.reason) for r in task.refusals] == [("w@n1", 0, "no bridge")]
    assert 0 < task.not_before - world.now <= 1000
    last = world.events(task.id)[-1]
    assert (last.kind, last.from_state, last.to_state, last.node) == ("repair", "RUNNING", "PENDING", "n1")
    assert last.reason == "given back: no bridge; due again in 1 s"


@pytest.mark.parametrize("refusals", [0, MOST_REFUSALS - 1])
@pytest.mark.parametrize("wrong", TOKENS)
def test_nothing_is_refused_under_a_wrong_token(world: World, wrong: str, refusals: int) -> None:
    token = world.confirmed().token
    world.set(token.task_id, refusals=[[world.now, "w@n1", 0, "no bridge"]] * refusals)
    with world.unchanged():
        assert not _refuse(world, wrong_tokens(token)[wrong])


@pytest.mark.parametrize("refusals", [0, MOST_REFUSALS - 1])
def test_nothing_is_refused_that_does_not_run(world: World, refusals: int) -> None:
    world.live()
    waiting, found = world.scheduled(), world.confirmed()
    world.end(found)
    for id in (waiting.id, found.token.task_id):
        world.set(id, refusals=[[world.now, "w@n1", 0, "no bridge"]] * refusals)
    with world.unchanged():
        assert not _refuse(world, waiting.token)
        assert not _refuse(world, found.token)


def test_the_delay_doubles_with_each_refusal(world: World) -> None:
    token = world.confirmed().token
    delays = []
    for _ in range(MOST_REFUSALS - 1):
        assert _refuse(world, token)
        delays.append(round((world.task(token.task_id).not_before - world.now) / 1000))
        token = _claim(world, token.task_id)
    assert delays == [1, 2, 4, 8]


def test_what_no_machine_can_begin_fails_with_each_machines_reason(world: World) -> None:
    token = world.confirmed(retry=Retry(limit=3)).token
    world.live("n2")
    for n in range(MOST_REFUSALS):
        assert _refuse(world, token, why="no bridge" if n % 2 else "no runtime")
        if n < MOST_REFUSALS - 1:
            token = _claim(world, token.task_id, "n1" if n % 2 else "n2")
    task = world.task(token.task_id)
    assert (task.state, task.attempt) == (TaskState.FAILED, 1)
    assert task.error is not None
    assert task.error.startswith("no machine could begin it (5 times in ")
    assert task.error.endswith("): w@n1: no runtime; w@n2: no bridge")
    assert world.job_of(task.id).state is JobState.FAILED
    assert all(link.state in (LinkState.ENDED, LinkState.SKIPPED) for link in world.links(task.id)[-1:])
    assert [attempt.state for attempt in world.attempts(task.id)] == [TaskState.FAILED]
    last = [event for event in world.events(task.id) if event.kind == "task"][-1]
    assert (last.from_state, last.to_state) == ("RUNNING", "FAILED")


def test_what_machines_could_not_begin_for_a_quarter_of_an_hour_fails(world: World) -> None:
    late, early = world.confirmed().token, world.confirmed().token
    world.set(late.task_id, refusals=[[world.now - MOST_REFUSED_MS, "w@n1", 0, "no bridge"]])
    world.set(early.task_id, refusals=[[world.now - MOST_REFUSED_MS + 60_000, "w@n1", 0, "no bridge"]])
    assert _refuse(world, late)
    assert _refuse(world, early)
    assert world.task(late.task_id).state is TaskState.FAILED
    assert world.task(early.task_id).state is TaskState.PENDING


def test_the_time_of_a_refused_attempt_counts_from_its_next_claim(world: World) -> None:
    found = world.confirmed(timeout="1h")
    world.set_attempt(found.token.task_id, started_at=world.now - 3_500_000)
    assert _refuse(world, found.token)
    world.set(found.token.task_id, not_before=0)
    again = claim(world.installation, by("n1"), world.task(found.token.task_id).token)
    assert again is not None and again.seconds_left is not None and again.seconds_left > 3_590


def test_a_give_back_for_another_reason_counts_no_refusal(world: World) -> None:
    found = world.confirmed(timeout="1h")
    world.set(found.token.task_id, refusals=[[world.now, "w@n1", 0, "no bridge"]])
    assert give_back(world.installation, by("n1"), found.token, "its volume is gone")
    task = world.task(found.token.task_id)
    assert len(task.refusals) == 1 and task.not_before <= world.now
    assert len(world.attempts(task.id)) == 1


def test_the_count_starts_again_when_the_refused_link_has_run(world: World) -> None:
    first = world.claimed(pre=1)
    assert _refuse(world, first.token, link=1)
    token = _claim(world, first.token.task_id)
    for index, kept in ((0, 1), (1, 0)):
        found = begin_link(world.installation, by("n1"), token, index)
        assert found is not None and confirm(world.installation, TESTER, found, f"c{index}")
        assert world.end(found, container=f"c{index}")
        assert len(world.task(token.task_id).refusals) == kept, index


def test_the_count_goes_on_when_the_refused_link_was_never_started(world: World) -> None:
    first = world.claimed(post=1, always=True)
    assert _refuse(world, first.token)
    world.set(first.token.task_id, not_before=0)
    found = claim(world.installation, by("n1"), world.task(first.token.task_id).token)
    assert found is not None
    outcome = Outcome(127, Cause.NOT_STARTED, "not in the image")
    assert finish_link(world.installation, TESTER, found, None, outcome)
    assert len(world.task(first.token.task_id).refusals) == 1


def test_the_next_attempt_begins_without_refusals(world: World) -> None:
    first = world.confirmed(retry=Retry(limit=1))
    assert _refuse(world, first.token)
    world.set(first.token.task_id, not_before=0)
    found = claim(world.installation, by("n1"), world.task(first.token.task_id).token)
    assert found is not None
    assert finish_link(world.installation, TESTER, found, None, Outcome(127, Cause.NOT_STARTED, "no such"))
    task = world.task(first.token.task_id)
    assert (task.attempt, task.refusals) == (2, ())
