"""Places in a text as editors count them: a line ends with LF, CR LF or CR."""

from __future__ import annotations

from engine.jobspec.problems import Place


class LineCounter:
    """Counter of the lines of a text. Places that are asked in their order cost one pass over the text in all."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: The line of the position up to which lines were counted, and where the line begins.
        self._line, self._begin, self._counted = 1, 0, 0

    def place(self, index: int) -> Place:
        """Return the place of the character with this index."""
        if index < self._counted:
            self._line, self._begin, self._counted = 1, 0, 0
        text, since = self._text, self._counted
        both = text.count("\r\n", max(0, since - 1), index)
        if ends := text.count("\n", since, index) + text.count("\r", since, index) - both:
            self._line += ends
        if ends or both:
            self._begin = max(text.rfind("\n", since, index), text.rfind("\r", since, index)) + 1
        self._counted = index
        return self._line, index - self._begin + 1


def place_after(before: str) -> Place:
    """Return the place of the character that follows this text."""
    return LineCounter(before).place(len(before))
