"""finish_link: each guard violated once; the next link, the last, failures, always posts, retries, late ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.jobspec.task import Retry
from engine.lifecycle.cancel import cancel
from engine.lifecycle.claim import begin_link, claim, resume
from engine.lifecycle.confirm import confirm
from engine.lifecycle.finish import finish_link
from engine.lifecycle.take_over import self_take_over, take_over
from engine.model.records import Event, Token
from engine.model.states import JobState, LinkState, NodeState, TaskState
from engine.runtime.base import Cause, Outcome
from tests.support.callers import TESTER, by
from tests.support.verb_world import World, wrong_tokens


def _states(world: World, task_id: str) -> list[str]:
    return [link.state for link in world.links(task_id)]


def _last(world: World, task_id: str, kind: str) -> Event:
    return [event for event in world.events(task_id) if event.kind == kind][-1]


def test_the_only_link_completes_task_attempt_and_job(world: World) -> None:
    found = world.confirmed()
    finished = world.end(found, result="hello world")
    assert finished is not None
    assert (finished.next_index, finished.ok, finished.retry_seconds) == (None, True, None)
    task, job = world.task(found.token.task_id), world.job_of(found.token.task_id)
    assert (task.state, task.result, task.exit_code) == (TaskState.COMPLETED, "hello world", 0)
    assert (job.state, job.result) == (JobState.COMPLETED, "hello world")
    assert task.ended_at and job.ended_at
    assert world.attempts(task.id)[0].state is TaskState.COMPLETED
    assert _states(world, task.id) == ["ENDED"]
    ended, done = _last(world, task.id, "link"), _last(world, task.id, "task")
    assert (ended.from_state, ended.to_state) == ("CONFIRMED", "ENDED")
    assert (done.from_state, done.to_state, done.node) == ("RUNNING", "COMPLETED", "n1")


def test_an_ended_link_leads_to_the_next(world: World) -> None:
    found = world.confirmed(pre=1)
    finished = world.end(found)
    assert finished is not None and (finished.next_index, finished.chain_goes_on) == (1, True)
    assert world.task(found.token.task_id).state is TaskState.RUNNING


def test_the_mains_result_is_kept_while_posts_run(world: World) -> None:
    found = world.confirmed(post=1)
    world.end(found, result="of main")
    assert world.task(found.token.task_id).result == "of main"
    post = begin_link(world.installation, by("n1"), found.token, 1)
    assert post is not None and confirm(world.installation, TESTER, post, "c1")
    world.end(post, container="c1", result="of post")
    task = world.task(found.token.task_id)
    assert (task.state, task.result) == (TaskState.COMPLETED, "of main")


def test_a_failing_link_skips_what_follows_and_fails_the_task(world: World) -> None:
    found = world.confirmed(pre=1, post=1)
    finished = world.end(found, 7)
    assert finished is not None and (finished.next_index, finished.ok) == (None, False)
    task = world.task(found.token.task_id)
    assert (task.state, task.exit_code, task.error) == (TaskState.FAILED, 7, "pre 0 (pre0): exit code 7")
    assert _states(world, task.id) == ["ENDED", "SKIPPED", "SKIPPED"]
    assert world.job_of(task.id).state is JobState.FAILED
    assert world.job_of(task.id).error == task.error


def test_a_failing_post_fails_the_task(world: World) -> None:
    found = world.confirmed(post=1)
    world.end(found, result="kept")
    post = begin_link(world.installation, by("n1"), found.token, 1)
    assert post is not None and confirm(world.installation, TESTER, post, "c1")
    world.end(post, 1, container="c1")
    assert world.task(found.token.task_id).state is TaskState.FAILED


def test_the_task_stays_running_until_the_last_always_post_ended(world: World) -> None:
    found = world.confirmed(post=2, always=True)
    world.end(found, 9)
    task_id = found.token.task_id
    assert world.task(task_id).state is TaskState.RUNNING
    assert _states(world, task_id) == ["ENDED", "SKIPPED", "WAITING"]
    post = begin_link(world.installation, by("n1"), found.token, 2)
    assert post is not None and confirm(world.installation, TESTER, post, "c2")
    finished = world.end(post, container="c2")
    assert finished is not None and finished.ok and finished.next_index is None
    task = world.task(task_id)
    assert (task.state, task.exit_code, task.error) == (TaskState.FAILED, 9, "main: exit code 9")


def test_a_skipped_link_has_its_event(world: World) -> None:
    found = world.confirmed(pre=1)
    world.end(found, 7)
    said = [(e.from_state, e.to_state) for e in world.events(found.token.task_id) if e.kind == "link"]
    assert ("WAITING", "SKIPPED") in said


def test_a_failed_attempt_is_tried_again_after_its_delay(world: World) -> None:
    found = world.confirmed(retry=Retry(limit=1, initial_delay="30s"))
    finished = world.end(found, 1, result=None)
    assert finished is not None and finished.retry_seconds == 30
    task = world.task(found.token.task_id)
    assert task.state is TaskState.PENDING
    assert (task.attempt, task.delivery, task.origin, task.crashes, task.node) == (2, 1, 0, 0, None)
    assert 25_000 < task.not_before - world.now <= 30_000
    assert (task.sent_at, task.sends) == (None, 0)
    assert world.job_of(task.id).state is JobState.RUNNING
    assert [a.state for a in world.attempts(task.id)] == [TaskState.FAILED]
    again = _last(world, task.id, "task")
    assert (again.from_state, again.to_state) == ("RUNNING", "PENDING")
    assert again.reason is not None and "retry 1 of 1" in again.reason


def test_limit_counts_retries_so_one_runs_at_most_twice(world: World) -> None:
    found = world.confirmed(retry=Retry(limit=1))
    world.end(found, 1)
    task = world.task(found.token.task_id)
    again = claim(world.installation, by("n1"), task.token)
    assert again is not None and again.order.name != found.order.name
    assert confirm(world.installation, TESTER, again, "c1")
    world.end(again, 1, container="c1")
    task = world.task(task.id)
    assert (task.state, task.attempt) == (TaskState.FAILED, 2)
    assert [a.state for a in world.attempts(task.id)] == [TaskState.FAILED, TaskState.FAILED]


def test_a_retry_forgets_the_result_of_the_failed_attempt(world: World) -> None:
    found = world.confirmed(post=1, retry=Retry(limit=1))
    world.end(found, result="old")
    post = begin_link(world.installation, by("n1"), found.token, 1)
    assert post is not None and confirm(world.installation, TESTER, post, "c1")
    world.end(post, 1, container="c1")
    assert world.task(found.token.task_id).result is None


@pytest.mark.parametrize("wrong", sorted(wrong_tokens(Token("", 1, 1))))
def test_an_end_under_a_wrong_token_is_refused(world: World, wrong: str) -> None:
    found = world.confirmed()
    stale = replace(found, token=wrong_tokens(found.token)[wrong])
    with world.unchanged():
        assert world.end(stale) is None


def test_an_end_of_another_container_is_refused(world: World) -> None:
    found = world.confirmed()
    with world.unchanged():
        assert world.end(found, container="other") is None


def test_an_end_of_a_container_that_was_never_confirmed_is_refused(world: World) -> None:
    found = world.claimed()
    with world.unchanged():
        assert world.end(found) is None


def test_a_second_end_is_refused_and_told_as_late(world: World) -> None:
    found = world.confirmed(post=1)
    assert world.end(found) is not None
    with world.unchanged():
        assert world.end(found) is None
    late = world.events(found.token.task_id)[-1]
    assert late.kind == "late" and late.reason is not None and "not applied" in late.reason


def test_the_end_of_a_replaced_delivery_is_refused_and_told_as_late(world: World) -> None:
    old = world.confirmed()
    world.lapse("n1")
    assert take_over(world.installation, by(world.live("n2")), old.token, "found")
    with world.unchanged():
        assert world.end(old) is None
    late = world.events(old.token.task_id)[-1]
    assert (late.kind, late.delivery) == ("late", 2)
    assert late.reason is not None and "delivery 1" in late.reason


def test_an_end_after_a_cancel_is_refused_without_a_word_unless_it_is_the_links_own(world: World) -> None:
    found = world.confirmed()
    cancel(world.installation, TESTER, found.token.task_id)
    before = len(world.events())
    with world.unchanged():
        assert world.end(found, 137, container=None) is None
        assert world.end(found, 137, container="another") is None
    assert len(world.events()) == before
    assert world.end(found, 137) is None
    assert [event.kind for event in world.events()][before:] == ["note"]


@pytest.mark.parametrize("state", [NodeState.LAPSED, NodeState.LEFT])
def test_a_node_that_is_gone_but_not_replaced_may_finish(world: World, state: NodeState) -> None:
    found = world.confirmed()
    _ = world.lapse("n1") if state is NodeState.LAPSED else world.leave("n1")
    assert world.end(found) is not None
    assert world.task(found.token.task_id).state is TaskState.COMPLETED


def test_a_link_that_could_not_start_ends_without_a_container(world: World) -> None:
    found = world.claimed()
    refused = Outcome(127, Cause.NOT_STARTED, "no such command")
    assert finish_link(world.installation, TESTER, found, None, refused) is not None
    task = world.task(found.token.task_id)
    assert (task.state, task.exit_code, task.error) == (TaskState.FAILED, 127, "main: no such command")
    ended = _last(world, task.id, "link")
    assert (ended.from_state, ended.to_state) == ("WAITING", "ENDED")


def test_an_older_deliverys_container_does_not_stop_a_start_that_is_refused_now(world: World) -> None:
    old = world.confirmed()
    token = self_take_over(world.installation, by("n1"), old.token, "its container was removed by hand")
    assert token is not None
    new = resume(world.installation, by("n1"), token)
    assert new is not None
    assert (
        finish_link(world.installation, TESTER, new, None, Outcome(125, Cause.NOT_STARTED, "no image"))
        is not None
    )
    assert world.links(token.task_id)[0].state is LinkState.ENDED


def test_a_refused_start_does_not_end_the_container_of_the_same_delivery(world: World) -> None:
    found = world.confirmed()
    with world.unchanged():
        assert (
            finish_link(world.installation, TESTER, found, None, Outcome(125, Cause.NOT_STARTED, "twin"))
            is None
        )
