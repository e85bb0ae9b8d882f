"""Log of a task over HTTP: pages, text, tail, timestamps, and a stream."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import logs as views
from api.context import ApiContext
from engine.lifecycle.append_log import append_log
from engine.lifecycle.cancel import cancel
from engine.model.log_gap import gap_note
from engine.model.records import LogPosition, Task
from engine.model.states import TaskState
from engine.store import logs, tasks
from tests.support import log_rows
from tests.support.callers import TESTER
from tests.support.streams import Message, messages
from tests.support.task_rows import running, submitted
from tests.support.verb_world import World

STAMP = "2026-01-02T03:04:05.123456789Z"


def _write(
    context: ApiContext, task: Task, *frames: str | logs.Frame, link: int = 0, limit: int = 1 << 20
) -> None:
    whole = [(1, STAMP, frame) if isinstance(frame, str) else frame for frame in frames]
    with context.installation.db.begin() as c:
        assert log_rows.append(c, task.token, task.origin, link, [logs.piece(whole)], LogPosition(), limit)


def _end(context: ApiContext, task: Task) -> None:
    with context.installation.db.begin() as c:
        assert tasks.end(c, task.token, TaskState.COMPLETED)


@pytest.fixture
def task(context: ApiContext) -> Task:
    """Return a running task."""
    return running(context.installation.db)


def _page(client: FlaskClient, task: Task, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/tasks/{task.id}/log{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json
    return page


def _text(client: FlaskClient, task: Task, query: str = "") -> bytes:
    answer = client.get(f"/tasks/{task.id}/log{query}", headers={"Accept": "text/plain"})
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "text/plain; charset=utf-8"
    return bytes(answer.data)


def _stream(client: FlaskClient, task: Task, query: str = "?follow=true", **headers: str) -> list[Message]:
    answer = client.get(f"/tasks/{task.id}/log{query}", headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    return [message for message in messages(answer.iter_encoded()) if message.event != "closed"]


def test_a_task_that_wrote_nothing_has_an_empty_log(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db)
    assert _page(client, task)["items"] == []
    assert _text(client, task) == b""
    assert _text(client, task, "?tail=5") == b""


def test_pages_hold_lines_with_number_time_and_stream(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, (0, STAMP, "pulling\n"), "out\n", (2, STAMP, "err\n"))
    found = _page(client, task, "?page=2&size=2")
    assert found["totalItems"], found["totalPages"] == (3, 2)
    assert found["items"] == [
        {
            "number": 3,
            "contents": "err\n",
            "createdAt": "2026-01-02T03:04:05.123Z",
            "stream": 2,
            "link": 0,
            "attempt": 1,
        }
    ]
    assert [line["contents"] for line in _page(client, task, "?q=OUT")["items"]] == ["out\n"]


def test_the_text_has_the_bytes_that_the_container_wrote(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, (0, STAMP, "pulling\n"), "one\n", (2, STAMP, "two\n"))
    for _ in range(40):
        _write(context, task, "x" * 1000, "\n")
    _write(context, task, "é\x00\udcff")
    assert _text(client, task) == b"one\ntwo\n" + (b"x" * 1000 + b"\n") * 40 + b"\xc3\xa9\x00\xff"


def test_each_link_begins_on_a_new_line(client: FlaskClient, context: ApiContext, task: Task) -> None:
    _write(context, task, "hello", link=0)
    _write(context, task, " world", link=0)
    _write(context, task, "next\n", link=1)
    assert _text(client, task) == b"hello world\nnext\n"


def test_timestamps_are_before_each_line_and_not_inside_one(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, "a" * 5, "b\n", (2, STAMP, "err\n"))
    wanted = f"{STAMP} aaaaab\n{STAMP} err\n".encode()
    assert _text(client, task, "?timestamps=1") == wanted


def test_the_tail_needs_no_accept_header(client: FlaskClient, context: ApiContext, task: Task) -> None:
    _write(context, task, *(f"{number}\n" for number in range(100)))
    answer = client.get(f"/tasks/{task.id}/log?tail=2")
    assert answer.data == b"98\n99\n"
    assert client.get(f"/tasks/{task.id}/log?tail=1&timestamps=1").data == f"{STAMP} 99\n".encode()


def test_a_part_of_the_log_is_that_of_a_link_or_an_attempt(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, "one\n", "two\n", link=0)
    _write(context, task, "three\n", "four\n", link=1)
    assert _text(client, task, "?link=0") == b"one\ntwo\n"
    assert client.get(f"/task/{task.id}/log?link=0&tail=2").data == b"one\ntwo\n"
    assert _text(client, task, "?link=0&tail=1") == b"two\n"
    assert _text(client, task, "?attempt=2") == b""
    page = _page(client, task, "?link=1&attempt=1&size=1&page=2")
    assert ([line["contents"] for line in page["items"]], page["totalItems"]) == (["four\n"], 2)
    _end(context, task)
    chunks = [m.data for m in _stream(client, task, "?follow=1&link=1&tail=1") if m.event == "log"]
    assert [chunk["frames"] for chunk in chunks] == [[[1, STAMP, "four\n"]]]


def test_a_stream_tells_that_the_output_of_links_is_complete(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, "one\n", link=0)
    _end(context, task)
    answer = client.get(f"/tasks/{task.id}/log?follow=1", buffered=False)
    stream = list(messages(answer.iter_encoded()))
    assert [message.event for message in stream] == ["log", "closed", "end"]
    assert stream[1].data == {"attempt": 1, "origin": 1, "delivery": 1, "links": 0}


NOTE = gap_note(45)


def _write_too_much(context: ApiContext, task: Task, begin: int = 1, end: int = 13) -> None:
    """Write lines of five bytes; two stay at the head of the log, and two at its end."""
    for number in range(begin, end + 1):
        _write(context, task, f"no{number:02}\n", limit=20)


def test_the_text_has_a_gap_note_with_the_number_of_missing_bytes(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write_too_much(context, task)
    note = f"[ferryman] {NOTE}".encode()
    assert _text(client, task) == b"no01\nno02\n" + note + b"no12\nno13\n"
    assert _text(client, task, "?tail=3") == b"no02\n" + note + b"no12\nno13\n"
    assert _text(client, task, "?tail=2") == b"no12\nno13\n"
    assert _text(client, task, "?timestamps=1").splitlines()[2:4] == [note[:-1], f"{STAMP} no12".encode()]


def test_a_gap_note_is_a_line_of_its_own(client: FlaskClient, context: ApiContext, task: Task) -> None:
    for text in ("begun", "lost\n", "lost\n", "end\n"):
        _write(context, task, text, limit=10)
    assert _text(client, task).splitlines()[0] == b"begun"
    assert _text(client, task).splitlines()[2] == b"end"


def test_pages_have_the_gap_note_as_a_line_and_keep_the_line_numbers(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write_too_much(context, task)
    found = [_page(client, task, f"?page={number}&size=2") for number in (1, 2, 3, 4)]
    lines = [line for page in found for line in page["items"]]
    assert [line["number"] for line in lines] == [1, 2, 11, 12, 13]
    assert (lines[2]["contents"], lines[2]["stream"], lines[2]["createdAt"][:4]) == (NOTE, 0, "2026")
    assert {(page["totalItems"], page["totalPages"]) for page in found} == {(5, 3)}


def test_a_stream_across_a_log_gap_has_the_note_once(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write_too_much(context, task, end=3)
    answer = client.get(f"/tasks/{task.id}/log?follow=true", buffered=False)
    stream = messages(answer.iter_encoded())
    first = [next(stream) for _ in range(3)]
    # More than one read returns: the stream falls behind, and the writer removes chunks before it reads them.
    _write_too_much(context, task, begin=4)
    _end(context, task)
    found = first + [message for message in stream if message.event != "closed"]
    texts = [text for message in found[:-1] for _, _, text in message.data["frames"]]
    assert texts == ["no01\n", "no02\n", "no03\n", NOTE, "no12\n", "no13\n"]
    assert [message.data["firstLine"] for message in found[:-1]] == [1, 2, 3, 11, 12, 13]
    assert found[-1].event == "end"
    assert _stream(client, task, "?follow=true&tail=2") == found[4:]
    for seen in found[:-1]:
        # no03 is not kept any more.
        rest = [x for x in found[:2] + found[3:-1] if int(x.id) > int(seen.id)] + found[-1:]
        assert _stream(client, task, **{"Last-Event-ID": seen.id}) == rest


def test_a_stream_goes_from_the_beginning_of_the_log_to_the_end_of_the_task(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    _write(context, task, "one\n", "two\n")

    def go_on() -> None:
        _write(context, task, "three\n", link=1)
        _end(context, task)

    timer = threading.Timer(0.3, go_on)
    timer.start()
    found = _stream(client, task)
    timer.join()
    assert [message.event for message in found] == ["log", "log", "end"]
    assert (found[0].id, found[0].data) == (
        "0",
        {
            "seq": 0, "attempt": 1, "origin": 1, "link": 0, "firstLine": 1,
            "frames": [[1, STAMP, "one\n"], [1, STAMP, "two\n"]],
        },
    )  # fmt: skip
    assert (found[1].data["firstLine"], found[1].data["link"]) == (3, 1)
    assert found[2].data == {"state": "COMPLETED"}


def test_a_stream_of_a_cancelled_task_goes_on_until_its_container_has_ended(
    client: FlaskClient, context: ApiContext
) -> None:
    world = World(context.installation.db, context.installation.settings, context.installation.id)
    assignment = world.confirmed()
    task = world.task(assignment.token.task_id)
    cancel(context.installation, TESTER, task.id)

    def go_on() -> None:
        next_seq = 0
        for text in ("cleaning up\n", "cleaned\n"):
            piece = logs.piece([(1, STAMP, text)])
            stored = append_log(context.installation, assignment, [piece], LogPosition(), next_seq)
            assert stored is not None
            next_seq = stored
        world.end(assignment, 143)

    timer = threading.Timer(1.0, go_on)
    timer.start()
    found = _stream(client, task)
    timer.join()
    assert [frame[2] for message in found[:-1] for frame in message.data["frames"]] == [
        "cleaning up\n",
        "cleaned\n",
    ]
    assert found[-1].data == {"state": "CANCELLED"}


def test_a_stream_resumes_after_the_last_chunk_that_was_seen(
    client: FlaskClient, context: ApiContext, task: Task
) -> None:
    for number in range(40):
        _write(context, task, f"{number}\n")
    _end(context, task)
    whole = _stream(client, task, "", Accept="text/event-stream")
    assert len(whole) == 41
    for seen in (0, 15, 16, 39):
        assert _stream(client, task, **{"Last-Event-ID": str(seen)}) == whole[seen + 1 :]


def test_a_stream_can_begin_at_the_tail(client: FlaskClient, context: ApiContext, task: Task) -> None:
    _write(context, task, "1\n", "2\n")
    _write(context, task, "3\n", "4\n")
    _end(context, task)
    found = _stream(client, task, "?follow=true&tail=3")
    assert [message.data.get("firstLine") for message in found] == [2, 3, None]
    assert [text for message in found[:-1] for _, _, text in message.data["frames"]] == ["2\n", "3\n", "4\n"]
    assert [message.event for message in _stream(client, task, "?follow=true&tail=0")] == ["end"]


def test_a_stream_from_the_tail_does_not_read_the_beginning_of_the_log(
    client: FlaskClient, context: ApiContext, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        _write(context, task, f"{number}a\n", f"{number}b\n")
    _end(context, task)
    read, chunks = [], logs.chunks

    def counted(*args: Any) -> list[logs.Chunk]:
        read.extend(batch := chunks(*args))
        return batch

    monkeypatch.setattr(logs, "chunks", counted)
    found = _stream(client, task, "?follow=true&tail=3")
    assert [text for message in found[:-1] for _, _, text in message.data["frames"]] == [
        "98b\n",
        "99a\n",
        "99b\n",
    ]
    assert [message.data.get("firstLine") for message in found] == [198, 199, None]
    assert len(read) == 2, "a chunk before the tail was read"


@pytest.mark.parametrize("last", ["x", "-1", "1-1", "9" * 20, "1.5"])
def test_a_malformed_last_event_id_is_refused(client: FlaskClient, task: Task, last: str) -> None:
    answer = client.get(f"/tasks/{task.id}/log?follow=1", headers={"Last-Event-ID": last})
    assert answer.status_code == 400
    assert "Last-Event-ID" in answer.get_json(force=True)["detail"]


def test_json_has_no_single_surrogates(client: FlaskClient, context: ApiContext, task: Task) -> None:
    _write(context, task, "a\ud800b🚀\n")
    assert _page(client, task)["items"][0]["contents"] == "a\ufffdb🚀\n"


def test_a_large_log_is_streamed_in_small_parts(context: ApiContext, client: FlaskClient, task: Task) -> None:
    for _ in range(views.logs.BATCH * 3):
        _write(context, task, "x" * 10_000 + "\n")
    answer = client.get(f"/tasks/{task.id}/log", headers={"Accept": "text/plain"}, buffered=False)
    pieces = [len(piece) for piece in answer.iter_encoded()]
    assert max(pieces) < 20_000
    assert sum(pieces) == views.logs.BATCH * 3 * 10_001
