"""Durations as people read them; static/time.js of the dashboard writes the same form."""

from __future__ import annotations


def duration(ms: float | None) -> str:
    """Return milliseconds as `380 ms`, `2.1 s`, `38 s`, `14m 38s`, `3h 04m` or `6d 02h`; "" for None."""
    if ms is None:
        return ""
    if ms < 950:
        return f"{max(0, round(ms))} ms"
    if ms < 9950:
        return f"{ms / 1000:.1f} s"
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d {seconds % 86400 // 3600:02d}h"
