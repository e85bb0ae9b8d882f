"""Page of a task whose log is over its limit: head, gap note and tail, and another note in the stream."""

from __future__ import annotations

from playwright.sync_api import expect

from engine.lifecycle.assignment import Assignment
from engine.model.log_gap import gap_note
from engine.model.records import LogPosition
from engine.store import logs
from tests.support import log_rows
from tests.support.chromium import Visiting
from tests.support.stage import HELLO, NODE, Stage

NOTE = gap_note(40).rstrip()


def _write(stage: Stage, link: Assignment, *texts: str) -> None:
    """Write frames of ten bytes in one chunk; four stay at the head of the log, and four at its end."""
    frames = [(1, "2026-01-02T03:04:05.123456789Z", text) for text in texts]
    with stage.db.begin() as c:
        assert log_rows.append(
            c, link.token, link.order.run.origin, link.order.index, [logs.piece(frames)], LogPosition(), 80
        )


def test_the_page_shows_the_log_gap_and_goes_on_after_it(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(HELLO.replace("say hello", "talk too much"))
    link = stage.claim(task, NODE)
    container = stage.start(link)
    _write(stage, link, *["ten bytes\n"] * 3, "begun at a", *["ten bytes\n"] * 8)
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    rows = page.locator("#lines .log-row")
    expect(rows).to_have_count(9)
    expect(rows.nth(3).locator(".text")).to_have_text("begun at a")
    expect(rows.nth(4).locator(".text")).to_have_text(NOTE)
    expect(rows.nth(4).locator(".line-number")).to_have_text("8")
    expect(rows.nth(4)).to_have_class("log-row ferryman-note")
    expect(rows.nth(5)).to_contain_text("ten bytes")
    expect(page.locator("#log-note")).to_contain_text(
        "12 lines, the last ones shown; 40 bytes in the middle are not kept"
    )
    # A stream that keeps up gets each line, even if lines before it are removed.
    _write(stage, link, "begun at b")
    expect(rows).to_have_count(10)
    expect(rows.nth(9).locator(".text")).to_have_text("begun at b")
    # No stream is as fast as this: it gets the note too, and no line continues across the gap.
    _write(stage, link, *["ten bytes\n"] * 20, "ends at b\n")
    expect(rows).to_have_count(15)
    expect(rows.nth(9).locator(".text")).to_have_text("begun at b")
    expect(rows.nth(10).locator(".text")).to_have_text(NOTE.replace("40", "260"))
    expect(rows.nth(11).locator(".text")).to_have_text("ten bytes")
    expect(rows.nth(14).locator(".text")).to_have_text("ends at b")
    expect(page.locator("#lines .gap")).to_have_text("16 lines are not shown here")
    stage.end(link, container)
    expect(page.locator("#head .subtitle")).to_contain_text("Completed")
