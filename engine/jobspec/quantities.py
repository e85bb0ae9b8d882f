"""Texts that stand for quantities -> numbers, with the unit in the name: `1h30m`, `512m`, `1.5`."""

from __future__ import annotations

import re

from engine.errors import FerrymanError
from engine.wording.text import quoted

#: The longest duration: beyond it nobody meant what they wrote.
YEAR_SECONDS = 366 * 86400.0
#: Docker refuses containers with less memory (Docker API: HostConfig.Memory).
MEMORY_LEAST_BYTES = 6 << 20
MEMORY_MOST_BYTES = 64 << 40
#: Docker's range begins here (Docker API: HostConfig.NanoCpus).
CPUS_LEAST = 0.01
CPUS_MOST = 4096.0

_UNIT_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_DURATION_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?(?:([kmgt])(?:i?b)?|b)?", re.IGNORECASE)
_SIZE_POWER = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_CPUS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")
_LONGEST_TEXT = 64


class BadQuantity(FerrymanError, ValueError):
    """A text that stands for no quantity; `what` is wrong, `hint` says what to write."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}: {hint}")
        self.what = what
        self.hint = hint


def duration_seconds(text: str) -> float:
    """Seconds of a duration in Go's form: parts of a number and a unit (ns us µs ms s m h), as `1h30m`.

    Raises BadQuantity when it has another form (a bare number, a sign, days) or is longer than a year.
    """
    hint = "write 5s, 10m or 1h30m"
    if not text or len(text) > _LONGEST_TEXT:
        raise BadQuantity(f"{quoted(text)} is not a duration", hint)
    seconds, end = 0.0, 0
    while end < len(text):
        part = _DURATION_PART.match(text, end)
        if part is None:
            raise BadQuantity(f"{quoted(text)} is not a duration", hint)
        seconds += float(part[1]) * _UNIT_SECONDS[part[2]]
        end = part.end()
    if seconds > YEAR_SECONDS:
        raise BadQuantity(f"{quoted(text)} is longer than a year", "write at most 8784h")
    return seconds


def memory_bytes(text: str, least: int = 1) -> int:
    """Bytes of a size in Docker's form: a number and b, k, m, g or t, powers of 1024 (`512m`, `1.5g`).

    Raises BadQuantity when it has another form, or is below `least` bytes or above 64 TiB.
    """
    found = _SIZE.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if found is None:
        raise BadQuantity(f"{quoted(text)} is not a size", "write 512m or 2g")
    size = int(float(found[1]) * (1 << _SIZE_POWER[(found[2] or "").lower()]))
    if size < least:
        hint = f"write {found[1]}m for megabytes" if text.isdigit() else "write 512m or 2g"
        raise BadQuantity(f"{quoted(text)} is {size} bytes, and at least {least} are needed", hint)
    if size > MEMORY_MOST_BYTES:
        raise BadQuantity(f"{quoted(text)} is more than 64 TiB", "write 512m or 2g")
    return size


def cpus(text: str) -> float:
    """A number of CPUs, `1.5` or `0.25`.

    Raises BadQuantity when it is no plain decimal number (no sign, no exponent, no NaN), below 0.01 or
    above 4096.
    """
    hint = "write 1, 0.5 or 1.5"
    if _CPUS.fullmatch(text) is None:
        raise BadQuantity(f"{quoted(text)} is not a number of CPUs", hint)
    number = float(text)
    if number < CPUS_LEAST:
        raise BadQuantity(f"{quoted(text)} CPUs are too few: at least {CPUS_LEAST}", hint)
    if number > CPUS_MOST:
        raise BadQuantity(f"{quoted(text)} CPUs are too many: at most {CPUS_MOST:.0f}", hint)
    return number
