"""Parsers of quantities: `1h30m`, `512m` and `1.5` as numbers, with the unit in the name."""

from __future__ import annotations

import re

from engine.errors import FerrymanError
from engine.jobspec.problems import Fault
from engine.wording.text import quoted

#: The longest duration; a longer one is a mistake.
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
    """Error for a text that is not a quantity, with the fault as its rule would return it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}: {hint}")
        self.fault = Fault(message, hint)


def duration_seconds(text: str) -> float:
    """Return the seconds of a duration in Go's form: numbers with units (ns us µs ms s m h), as in `1h30m`.

    Raises BadQuantity for another form (a bare number, a sign, days) and above a year.
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
    """Return the bytes of a size in Docker's form: a number and b, k, m, g or t, powers of 1024 (`512m`, `1.5g`).

    Raises BadQuantity for another form, below `least` bytes and above 64 TiB.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise BadQuantity(f"{quoted(text)} is not a size", "write 512m or 2g")
    size = int(float(match[1]) * (1 << _SIZE_POWER[(match[2] or "").lower()]))
    if size < least:
        hint = (
            f"write {match[1]}m for megabytes"
            if text.isdigit() and int(text) << 20 >= least
            else "write 512m or 2g"
        )
        raise BadQuantity(f"{quoted(text)} is {size} bytes, at least {least} are needed", hint)
    if size > MEMORY_MOST_BYTES:
        raise BadQuantity(f"{quoted(text)} is more than 64 TiB", "write 512m or 2g")
    return size


def cpus(text: str) -> float:
    """Return a number of CPUs, as in `1.5` or `0.25`.

    Raises BadQuantity for another form than a plain decimal number (no sign, exponent or NaN), below 0.01 and above
    4096.
    """
    hint = "write 1, 0.5 or 1.5"
    if _CPUS.fullmatch(text) is None:
        raise BadQuantity(f"{quoted(text)} is not a number of CPUs", hint)
    number = float(text)
    if number < CPUS_LEAST:
        raise BadQuantity(f"{quoted(text)} is too few CPUs, at least {CPUS_LEAST} are needed", hint)
    if number > CPUS_MOST:
        raise BadQuantity(f"{quoted(text)} is too many CPUs, at most {CPUS_MOST:.0f} are allowed", hint)
    return number
