"""PURE. Text of a log as the containers wrote it, made of frames."""

from __future__ import annotations

from collections.abc import Iterable

from engine.model.log_gap import as_own_line, is_gap


class LogText:
    """Converter of frames to the text that was written, with Docker's time stamp before each line if wanted.

    A log gap becomes a line of its own that says how much is missing; other notes of Ferryman are left out.
    """

    def __init__(self, *, with_stamps: bool = False) -> None:
        self._with_stamps = with_stamps
        self._link: tuple[int, int, int] | None = None
        #: Streams of the current link whose last line has not ended.
        self._unfinished: set[int] = set()

    def add(self, link: tuple[int, int, int], frames: Iterable[tuple[int, str, str]]) -> str:
        """Return the text of these frames, (stream, stamp, text), of one link.

        `link` is (attempt, origin, index). The output of another link begins on a new line.
        """
        parts: list[str] = []
        for stream, stamp, written in frames:
            if is_gap(stream, written):
                parts.append(as_own_line(written, inside_line=bool(self._unfinished)))
                self._unfinished = set()
            if stream == 0:
                continue
            if link != self._link:
                parts += ["\n"] if self._unfinished else []
                self._link, self._unfinished = link, set()
            if self._with_stamps and stream not in self._unfinished:
                parts.append(f"{stamp} ")
            parts.append(written)
            (self._unfinished.discard if written.endswith("\n") else self._unfinished.add)(stream)
        return "".join(parts)
