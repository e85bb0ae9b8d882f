"""Rows of a log: the lines, and a heading for each link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.dashboard.formats import line_text
from engine.model.log_gap import is_gap
from engine.store.log_lines import Line


@dataclass(frozen=True)
class LogRow:
    """A line of the log, or a heading when `stream` is None."""

    number: int
    #: Docker's timestamp (RFC 3339).
    at: str
    stream: int | None
    text: str
    #: attempt.origin.link.stream: the same for all pieces of a line.
    key: str = ""
    #: True while the line has not ended.
    open: bool = False


def log_rows(lines: Sequence[Line], titles: Sequence[str]) -> list[LogRow]:
    """Return frames as rows: pieces of a line are joined (never across a log gap), each link gets a heading."""
    rows: list[LogRow] = []
    unfinished: dict[str, tuple[int, str]] = {}
    run: tuple[int, int, int] | None = None
    for line in lines:
        stream, stamp, text = line.frame
        if run != (line.attempt, line.origin, line.link):
            run, unfinished = (line.attempt, line.origin, line.link), {}
            rows.append(LogRow(line.number, "", None, _heading(line.link, line.attempt, titles)))
        if is_gap(stream, text):
            for at, _ in unfinished.values():
                rows[at] = replace(rows[at], open=False)
            unfinished = {}
        key = f"{line.attempt}.{line.origin}.{line.link}.{stream}"
        at, before = unfinished.pop(key, (len(rows), ""))
        whole = before + text
        first = rows[at] if at < len(rows) else None
        row = LogRow(
            first.number if first else line.number,
            first.at if first else stamp,
            stream,
            whole,
            key,
            not text.endswith("\n"),
        )
        rows[at : at + 1] = [row]
        if row.open:
            unfinished[key] = (at, whole[-65536:])
    # A long line comes in many pieces: it is made fit to show once.
    return [row if row.stream is None else replace(row, text=line_text(row.text)) for row in rows]


def _heading(index: int, attempt: int, titles: Sequence[str]) -> str:
    title = titles[index] if index < len(titles) else f"link {index}"
    return title if attempt == 1 else f"{title}, attempt {attempt}"
