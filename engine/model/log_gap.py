"""The gap note, which stands in place of the missing part of a log: its text, and how a reader recognises it."""

from __future__ import annotations

#: Beginning of the note; no other note of Ferryman's begins so.
GAP = "Log gap: "


def gap_note(missing_bytes: int) -> str:
    """Return the note as a line. It counts all missing bytes of the log, wherever a reader meets it."""
    return f"{GAP}{missing_bytes} bytes of the log are missing in all (bound: FERRYMAN_LOG_BYTES)\n"


def as_own_line(note: str, *, inside_line: bool) -> str:
    """Return the note for raw output among what containers wrote: on a line of its own, marked as Ferryman's."""
    return ("\n" if inside_line else "") + f"[ferryman] {note}"


def is_gap(stream: int, text: str) -> bool:
    """Return whether a frame is the note. Text before and after the note is never one line."""
    return stream == 0 and text.startswith(GAP)
