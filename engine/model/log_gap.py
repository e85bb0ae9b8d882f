"""Gap notes, which stand in place of the missing parts of a log: their text, and how a reader recognises them."""

from __future__ import annotations

#: Beginning of the notes; no other note of Ferryman's begins so.
GAP = "Log gap: "


def gap_note(missing_bytes: int) -> str:
    """Return the note as a line. It counts all missing bytes of the log, wherever a reader meets it."""
    return f"{GAP}{missing_bytes} bytes of the log are missing in all (bound: FERRYMAN_LOG_BYTES)\n"


def lost_note(after: str, before: str) -> str:
    """Return the note, as a line, for what Docker dropped before it was read: between these two time stamps."""
    return f"{GAP}lines between {after} and {before} are missing: Docker dropped them before they were read\n"


def cut_note(seconds: float) -> str:
    """Return the note, as a line, for the end of a cancelled container's log that could not be read in this time."""
    return (
        f"{GAP}the rest of the log is missing: reading it took longer than {seconds:g} s after the cancel\n"
    )


def as_own_line(note: str, *, inside_line: bool) -> str:
    """Return the note for raw output among what containers wrote: on a line of its own, marked as Ferryman's."""
    return ("\n" if inside_line else "") + f"[ferryman] {note}"


def is_gap(stream: int, text: str) -> bool:
    """Return whether a frame is a gap note. Text before and after the note is never one line."""
    return stream == 0 and text.startswith(GAP)
