"""Bounds of an expression, each with its words, and the meter that counts what an evaluation costs."""

from __future__ import annotations

from collections.abc import Sized

from engine.jobspec.expression.errors import Reason, fail

#: Bytes of an expression's source.
SOURCE_BYTES = 4 << 10
#: Levels that an expression may be nested, and a value.
EXPRESSION_DEPTH = 60
VALUE_DEPTH = 100
#: Steps of one evaluation, and of all evaluations of an opening or a batch.
EVALUATION_STEPS = 100_000
BATCH_STEPS = 1_000_000
#: Letters of a text, counted in characters and in bytes; elements of a list or a map.
TEXT_BYTES = 1 << 20
LIST_LENGTH = 10_000
#: Integers have 64 bits.
LEAST_INTEGER, GREATEST_INTEGER = -(1 << 63), (1 << 63) - 1
#: Bytes of a regular expression, and memory of its program and its automaton.
PATTERN_BYTES = 1_000
PATTERN_MEMORY_BYTES = 1 << 20

#: Letters that are copied, compared or searched in the time of one step; elements likewise.
_LETTERS_PER_STEP = 64
_ELEMENTS_PER_STEP = 8
#: At worst RE2 looks at each letter with each instruction of the program; so many in the time of one step.
_MATCHES_PER_STEP = 256
#: Compiling a regular expression takes as long as this many steps, and more with its length and its program.
_COMPILE_STEPS = 100
_INSTRUCTIONS_PER_STEP = 2


class Budget:
    """Steps that the evaluations of one opening or batch have left together."""

    def __init__(self, steps: int = BATCH_STEPS) -> None:
        self.left = steps


class Meter:
    """Counter of one evaluation's steps; it ends the evaluation when they are used up."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._allowed = min(EVALUATION_STEPS, budget.left)
        self.left = self._allowed

    def spend(self, steps: int = 1) -> None:
        """Count steps."""
        self.left -= steps
        if self.left < 0:
            self._refuse()

    def _refuse(self) -> None:
        if self._allowed < EVALUATION_STEPS:
            fail(Reason.LIMIT, f"the expressions evaluated together take more than {BATCH_STEPS:,} steps")
        fail(Reason.LIMIT, f"the expression takes more than {EVALUATION_STEPS:,} steps")

    def settle(self) -> None:
        """Take what was spent from the budget."""
        self._budget.left -= self._allowed - max(0, self.left)

    def read(self, text: str) -> None:
        """Count a look at all letters of a text."""
        self.spend(1 + len(text) // _LETTERS_PER_STEP)

    def match(self, text: str, instructions: int) -> None:
        """Count the search for a regular expression whose program has so many instructions."""
        self.spend(1 + len(text) * instructions // _MATCHES_PER_STEP)

    def compile(self, pattern: str) -> None:
        """Count the compilation of a regular expression."""
        self.spend(_COMPILE_STEPS + len(pattern))

    def compiled(self, instructions: int) -> None:
        """Count the instructions of a regular expression's program."""
        self.spend(instructions // _INSTRUCTIONS_PER_STEP)

    def copy(self, length: int) -> None:
        """Count a list or map of that length, made by copying, before it is made."""
        if length > LIST_LENGTH:
            fail(Reason.LIMIT, f"a list or map may have {LIST_LENGTH:,} elements, this one has {length:,}")
        self.spend(1 + length // _ELEMENTS_PER_STEP)

    def look(self, elements: Sized) -> None:
        """Count a look at all elements."""
        self.spend(1 + len(elements) // _ELEMENTS_PER_STEP)

    def text(self, length: int) -> None:
        """Count a text of that many characters before it is made."""
        if length > TEXT_BYTES:
            fail(Reason.LIMIT, f"a text may have {TEXT_BYTES:,} bytes, this one has {length:,} characters")
        self.spend(1 + length // _LETTERS_PER_STEP)

    def made(self, text: str) -> str:
        """Return a text that was made, unless its bytes are too many."""
        self.text(len(text))
        if not text.isascii() and (size := len(text.encode("utf-8", "surrogatepass"))) > TEXT_BYTES:
            fail(Reason.LIMIT, f"a text may have {TEXT_BYTES:,} bytes, this one has {size:,}")
        return text


def whole(number: int) -> int:
    """Return the integer, unless it needs more than 64 bits."""
    if not LEAST_INTEGER <= number <= GREATEST_INTEGER:
        fail(Reason.RANGE, "the result is an integer beyond 64 bits; use float() for larger numbers")
    return number
