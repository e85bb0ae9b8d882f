"""Event streams: replay, resume, live events in commit order, the end; seats; slow clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest
from flask.testing import FlaskClient

from api import feed
from api.context import ApiContext
from engine.lifecycle.cancel import cancel
from engine.model.records import Task
from engine.model.states import JobState, TaskState
from engine.model.tree import Course
from engine.store import events, jobs, tasks
from engine.store.database import Database
from tests.integration.api.conftest import an_app
from tests.support.callers import TESTER
from tests.support.streams import Message, messages
from tests.support.task_rows import running, submitted
from tests.support.waiting import wait_until


def _open(client: FlaskClient, query: str = "", last: str | None = None) -> Iterator[Message]:
    headers = {} if last is None else {"Last-Event-ID": last}
    answer = client.get(f"/events{query}", headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/event-stream"
    return messages(answer.iter_encoded())


def _note(db: Database, task: Task, *reasons: str) -> None:
    with db.begin() as c:
        for reason in reasons:
            events.add(c, TESTER, "note", task, reason=reason)


def _reasons(stream: Iterator[Message]) -> list[str | None]:
    return [message.data.get("reason") for message in stream]


def _end(db: Database, task: Task, state: TaskState = TaskState.COMPLETED) -> None:
    with db.begin() as c:
        jobs.lock(c, task.job_id)
        assert tasks.end(c, task.token, state)
        events.add(c, TESTER, "task", task, from_state=TaskState.RUNNING, to_state=state)
        jobs.end(c, Course(task.job_id, JobState(state)))
        events.add(c, TESTER, "job", job_id=task.job_id, from_state=JobState.RUNNING, to_state=state)


def _listening(context: ApiContext) -> bool:
    return bool(context.feed._listeners)


def test_an_ended_task_is_replayed_from_its_first_event_to_its_end(
    client: FlaskClient, context: ApiContext
) -> None:
    task = submitted(context.installation.db)
    cancel(context.installation, TESTER, task.id)
    found = list(_open(client, f"?task={task.id}"))
    assert [message.event for message in found] == ["event", "event", "end"]
    assert [message.data.get("to") for message in found[:2]] == ["PENDING", "CANCELLED"]
    assert found[2].data == {"state": "CANCELLED"}
    first = found[0]
    assert first.id == first.data["cursor"]
    wanted = {"jobId": task.job_id, "taskId": task.id, "attempt": 1, "delivery": 1, "kind": "task"}
    assert wanted.items() <= first.data.items()
    assert found[1].data["author"] == str(TESTER)


def test_the_stream_of_a_job_has_its_tasks_and_its_own_end(client: FlaskClient, context: ApiContext) -> None:
    task, other = running(context.installation.db), submitted(context.installation.db)
    _end(context.installation.db, task, TaskState.FAILED)
    found = list(_open(client, f"?job={task.job_id[:12]}"))
    assert [message.data.get("kind") for message in found] == ["task", "task", "job", None]
    assert found[-1].data == {"state": "FAILED"}
    assert other.job_id not in {message.data.get("jobId") for message in found}


def test_a_stream_resumes_after_the_last_event_that_was_seen(
    client: FlaskClient, context: ApiContext
) -> None:
    task = submitted(context.installation.db)
    _note(context.installation.db, task, *"abcdef")
    cancel(context.installation, TESTER, task.id)
    whole = list(_open(client, f"?task={task.id}"))
    for seen in range(len(whole) - 1):
        rest = list(_open(client, f"?task={task.id}", whole[seen].id))
        assert rest == whole[seen + 1 :]


def test_more_than_one_batch_is_replayed_whole(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db)
    wanted = [str(number) for number in range(1203)]
    _note(context.installation.db, task, *wanted)
    cancel(context.installation, TESTER, task.id)
    found = _reasons(iter(list(_open(client, f"?task={task.id}"))[1:-2]))
    assert found == wanted


def test_events_come_as_they_happen_and_the_stream_ends_with_the_task(
    client: FlaskClient, context: ApiContext
) -> None:
    task = running(context.installation.db)
    stream = _open(client, f"?task={task.id}")
    assert next(stream).data["to"] == "PENDING"
    for reason in "abc":
        _note(context.installation.db, task, reason)
        assert next(stream).data["reason"] == reason
    _end(context.installation.db, task)
    assert [message.event for message in stream] == ["event", "end"]
    assert not _listening(context)


def test_the_stream_of_all_begins_now(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db)
    stream = _open(client)
    received: list[Message] = []
    reader = threading.Thread(target=lambda: received.extend(islice(stream, 2)), daemon=True)
    reader.start()
    wait_until(lambda: _listening(context), 5)
    _note(context.installation.db, task, "one")
    _note(context.installation.db, submitted(context.installation.db), "two")
    reader.join(10)
    assert [message.data.get("reason") for message in received] == ["one", None]


def test_the_stream_of_all_resumes_after_a_cursor(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db)
    with context.installation.db.read() as c:
        cursor = events.latest(c)
    _note(context.installation.db, task, "one", "two")
    assert _reasons(islice(_open(client, "", cursor), 2)) == ["one", "two"]


def test_a_cursor_after_all_events_resets_the_stream(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db)
    ahead = "999999" if context.installation.db.is_sqlite else "999999999-1"
    found = list(islice(_open(client, f"?task={task.id}", ahead), 2))
    assert [message.event for message in found] == ["reset", "event"]


def test_a_client_too_slow_for_its_queue_loses_nothing(
    client: FlaskClient, context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE_SIZE", 3)
    task = running(context.installation.db)
    stream = _open(client, f"?task={task.id}")
    assert next(stream).data["to"] == "PENDING"
    wanted = [str(number) for number in range(50)]
    for reason in wanted:
        _note(context.installation.db, task, reason)
    wait_until(lambda: any(listener.behind.is_set() for listener in context.feed._listeners), 10)
    assert _reasons(islice(stream, 50)) == wanted
    _end(context.installation.db, task)
    assert [message.event for message in stream] == ["event", "end"]


def test_many_clients_get_the_same_events(client: FlaskClient, context: ApiContext, app: object) -> None:
    task = running(context.installation.db)
    streams = [_open(client, f"?task={task.id}") for _ in range(5)]
    assert {next(stream).data["to"] for stream in streams} == {"PENDING"}
    _note(context.installation.db, task, *"abc")
    _end(context.installation.db, task)
    for stream in streams:
        assert [message.data.get("reason") for message in stream] == ["a", "b", "c", None, None]


def test_seats_are_counted_and_given_back(context: ApiContext) -> None:
    client = an_app(context.installation.settings.replace(sse_clients=2)).test_client()
    task = submitted(context.installation.db)
    streams = [client.get(f"/events?task={task.id}", buffered=False) for _ in range(2)]
    for path in (f"/events?task={task.id}", f"/tasks/{task.id}/log?follow=true"):
        refused = client.get(path)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert "FERRYMAN_SSE_CLIENTS" in refused.get_json(force=True)["detail"]
    streams.pop().close()
    assert client.get(f"/events?task={task.id}", buffered=False).status_code == 200


def test_a_stop_ends_every_stream_quickly(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db)
    stream, log = (
        _open(client, f"?task={task.id}"),
        client.get(f"/tasks/{task.id}/log?follow=true", buffered=False),
    )
    next(stream)
    timer = threading.Timer(0.1, context.feed.end)
    timer.start()
    assert list(stream) == []
    assert list(messages(log.iter_encoded())) == []
    assert client.get(f"/events?task={task.id}").status_code == 503


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("path", ["?task={task}", "?job={job}", ""])
def test_an_event_with_an_earlier_number_and_a_later_commit_is_not_skipped(
    client: FlaskClient, context: ApiContext, path: str
) -> None:
    task = running(context.installation.db)
    with context.installation.db.read() as c:
        cursor = events.latest(c)
    stream = _open(client, path.format(task=task.id, job=task.job_id), cursor)
    seen: list[Message] = []
    reader = threading.Thread(target=lambda: seen.extend(islice(stream, 2)), daemon=True)
    slow = Database(context.installation.settings.store)
    with slow.begin() as uncommitted:
        events.add(uncommitted, TESTER, "note", task, reason="first number, second commit")
        reader.start()
        wait_until(lambda: _listening(context), 5)
        _note(context.installation.db, task, "second number, first commit")
        # The feed reads every 10 ms, so within half a second it would have sent the event too early.
        reader.join(0.5)
        assert seen == []
    reader.join(10)
    slow.close()
    assert _reasons(iter(seen)) == ["first number, second commit", "second number, first commit"]
