"""Last words of a cancelled container: how long its log and its exit code are still taken after the cancel."""

from __future__ import annotations

#: Time for reading the rest of the log after the container's end.
READ_SECONDS = 20.0
#: Time for everything else between the kill and the last chunk: slow calls of Docker, a store that is away.
_SPARE_SECONDS = 40.0


def window_ms(beat_seconds: float, kill_grace_seconds: float) -> int:
    """Return for how many milliseconds after its cancel a task takes chunks of its log and an exit code.

    Its node learns of the cancel at a beat, and kills the container after the grace.
    """
    return round(1000 * (2 * beat_seconds + kill_grace_seconds + READ_SECONDS + _SPARE_SECONDS))
