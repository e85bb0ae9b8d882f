"""Regular expressions without backtracking: RE2, by google-re2.

An expression's author chooses both pattern and text, so the time must grow with their lengths only.
"""

from __future__ import annotations

from typing import Any

try:
    import re2
except ImportError:  # no wheel for this platform: `matches` is refused in words
    re2 = None

from engine.jobspec.expression.bounds import PATTERN_BYTES, PATTERN_MEMORY_BYTES, Meter
from engine.jobspec.expression.errors import Reason, fail

IS_AVAILABLE = re2 is not None


class Patterns:
    """Compiled patterns of one evaluation: a pattern in a predicate is compiled once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._compiled: dict[str, Any] = {}

    def matches(self, text: str, pattern: str) -> bool:
        """Return whether the pattern is found anywhere in the text."""
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = compile_pattern(pattern, self._meter)
        self._meter.match(text, compiled.programsize)
        return compiled.search(text) is not None


def compile_pattern(pattern: str, meter: Meter) -> Any:
    """Return the compiled pattern. Raises ExpressionError for one that is none, or too large."""
    if re2 is None:
        fail(Reason.REGEX, "`matches` needs the library google-re2, which is not installed here")
    if (size := len(pattern.encode("utf-8", "surrogatepass"))) > PATTERN_BYTES:
        fail(Reason.LIMIT, f"a regular expression may have {PATTERN_BYTES:,} bytes, this one has {size:,}")
    meter.compile(pattern)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as exc:
        fail(Reason.REGEX, f"expected a regular expression as RE2 has them, found another: {_kind(exc)}")
    meter.compiled(compiled.programsize)
    return compiled


def _kind(error: Exception) -> str:
    """Return the words of RE2 up to the piece of the pattern, which may be a value."""
    words = error.args[0] if error.args else b""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return text.partition(":")[0] or "too large"
