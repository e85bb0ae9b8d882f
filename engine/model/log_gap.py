"""The note that stands where a log was cut: how it is worded, and how a reader knows it."""

from __future__ import annotations

#: How the note begins; no other note of ours does.
GAP = "The log is cut here: "


def gap_note(cut_bytes: int) -> str:
    """The line that tells how much of a log is not kept; all of it, wherever a reader meets the cut."""
    return f"{GAP}of it {cut_bytes} bytes in all are not kept (FERRYMAN_LOG_BYTES)\n"


def set_off(note: str, *, inside_line: bool) -> str:
    """The note among what containers wrote, as raw text: a line of its own, said to be ours."""
    return ("\n" if inside_line else "") + f"[ferryman] {note}"


def is_gap(stream: int, text: str) -> bool:
    """True for that note. What comes before it and what comes behind it are no pieces of one line."""
    return stream == 0 and text.startswith(GAP)
