"""Lines assembled from log chunks, and the links of a task before and after its claim."""

from __future__ import annotations

import time

from engine.cli import job_stream
from engine.client import LinksClosed, LogChunk
from engine.model.log_gap import gap_note


def chunk(link: int, *frames: tuple[int, str]) -> LogChunk:
    return LogChunk("1", 1, 1, link, 1, tuple((stream, "", text) for stream, text in frames))


def test_chunks_of_two_streams_and_links_become_complete_lines() -> None:
    lines = job_stream.LineBuffer()
    shown = [
        *lines.add(chunk(0, (1, "hel"), (2, "oops\n"), (1, "lo\nwor"))),
        *lines.add(chunk(1, (1, "other\n"))),
        *lines.add(chunk(0, (1, "ld"))),
        *lines.flush(),
    ]
    assert [(x.link, x.stream, x.text) for x in shown] == [
        (0, 2, "oops"), (0, 1, "hello"), (1, 1, "other"), (0, 1, "world"),
    ]  # fmt: skip
    assert list(lines.flush()) == []


def test_notes_of_ferryman_are_lines_of_their_own() -> None:
    shown = list(job_stream.LineBuffer().add(chunk(0, (0, "pulling 40 %"), (0, "pulled"))))
    assert [line.text for line in shown] == ["pulling 40 %", "pulled"]


def test_a_line_ends_at_a_gap_of_the_log() -> None:
    lines = job_stream.LineBuffer()
    shown = list(lines.add(chunk(0, (1, "begun"), (0, gap_note(9)), (1, "rest\n"))))
    assert [line.text for line in shown] == ["begun", gap_note(9)[:-1], "rest"]
    assert list(lines.flush()) == []


def test_a_line_has_the_stamp_of_its_beginning() -> None:
    lines = job_stream.LineBuffer()
    frames = ((1, "10:01", "a"), (1, "10:02", "b\nc"), (1, "10:03", "d\n"))
    shown = list(lines.add(LogChunk("1", 1, 1, 0, 1, frames)))
    assert [(line.stamp, line.text) for line in shown] == [("10:01", "ab"), ("10:02", "cd")]


def test_a_closed_link_ends_its_last_line_and_no_other() -> None:
    lines = job_stream.LineBuffer()
    assert not list(lines.add(chunk(0, (1, "pre"))))
    assert not list(lines.add(chunk(1, (1, "ma"))))
    assert [line.text for line in lines.flush(LinksClosed(1, 1, 1))] == ["pre"]
    assert [line.text for line in lines.add(chunk(1, (1, "in\n")))] == ["main"]


def test_before_the_claim_the_links_are_those_of_the_job_file() -> None:
    task = {"image": "b", "pre": [{"name": "get", "image": "a"}], "post": [{"image": "c"}]}
    assert [(x["index"], x["kind"], x["image"], x["state"]) for x in job_stream.links(task)] == [
        (0, "pre", "a", "WAITING"), (1, "main", "b", "WAITING"), (2, "post", "c", "WAITING"),
    ]  # fmt: skip


def test_the_failed_link_is_the_first_with_an_exit_code_or_an_error() -> None:
    links = [{"index": 0, "exitCode": 0}, {"index": 1, "exitCode": 3}, {"index": 2, "error": "no image"}]
    assert job_stream.failed_link({"links": links}) == links[1]
    assert job_stream.failed_link({"links": links[:1]}) is None


def test_the_cost_of_a_long_line_grows_with_its_length_only() -> None:
    def seconds(pieces: int) -> float:
        lines, began = job_stream.LineBuffer(), time.process_time()
        for _ in range(pieces):
            assert not list(lines.add(chunk(0, (1, "x" * 4096))))
        (line,) = lines.add(chunk(0, (1, "\n")))
        assert len(line.text) == pieces * 4096
        return time.process_time() - began

    # Joined at each piece, the longer line took 16 times as long, here seconds.
    assert min(seconds(8000) for _ in range(3)) < 8 * min(seconds(2000) for _ in range(3)) + 0.05
