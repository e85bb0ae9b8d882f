"""Ceilings of an operator: the most memory, shared memory and time that a task may ask for. Pure logic on texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import SettingsError
from engine.jobspec import quantities
from engine.jobspec.builder import Scalar
from engine.jobspec.container_paths import items
from engine.jobspec.problems import Fault, Path
from engine.jobspec.quantities import BadQuantity
from engine.wording.text import quoted


@dataclass(frozen=True)
class Ceilings:
    """The most that a task may ask for; None: no ceiling."""

    memory_bytes: int | None = None
    shm_bytes: int | None = None
    timeout_seconds: float | None = None


def ceilings_from(memory: str, shm: str, timeout_seconds: float) -> Ceilings:
    """Return the ceilings of the settings; "" and 0 set none. Raises SettingsError with the name of the variable."""
    return Ceilings(
        _size("FERRYMAN_MAX_MEMORY", memory, quantities.MEMORY_LEAST_BYTES),
        _size("FERRYMAN_MAX_SHM", shm, 4096),
        timeout_seconds or None,
    )


def _size(variable: str, text: str, least: int) -> int | None:
    try:
        return quantities.memory_bytes(text, least) if text else None
    except BadQuantity as exc:
        raise SettingsError(f"{variable}={text!r}: {exc}") from None


def ceiling_faults(task: Mapping[str, Any], ceilings: Ceilings) -> Iterable[tuple[Path, Fault]]:
    """Return the faults of a task that asks for more; values of a wrong type or form are skipped."""
    limits = task.get("limits")
    if isinstance(limits, Mapping):
        yield from _above(("limits", "memory"), limits, ceilings.memory_bytes, quantities.memory_bytes)
    yield from _above(("shm",), task, ceilings.shm_bytes, quantities.memory_bytes)
    yield from _above(("timeout",), task, ceilings.timeout_seconds, quantities.duration_seconds)
    for key in ("pre", "post"):
        for index, link in items(task, key):
            if isinstance(link, Mapping):
                path = (key, index, "timeout")
                yield from _above(path, link, ceilings.timeout_seconds, quantities.duration_seconds)


def _above(
    path: Path, holder: Mapping[str, Any], most: float | None, measure: Callable[[str], float]
) -> Iterable[tuple[Path, Fault]]:
    name = str(path[-1])
    value = holder.get(name)
    text = value.text if isinstance(value, Scalar) else value
    if most is None or not isinstance(text, str):
        return
    try:
        is_above = measure(text) > most
    except BadQuantity:
        return
    if is_above:
        bound, variable = _WORDS[name]
        message = f"{quoted(text)} is more than the {bound(most)} that this Ferryman allows"
        yield path, Fault(message, f"write at most {bound(most)}, or ask the operator to raise {variable}")


def memory_denial(memory_bytes: int | None, shm_bytes: int | None, ceilings: Ceilings) -> str:
    """Return why a worker does not start a container with these sizes, "" when it does."""
    asked = (("memory", memory_bytes, ceilings.memory_bytes), ("shm", shm_bytes, ceilings.shm_bytes))
    for name, size, most in asked:
        if size is not None and most is not None and size > most:
            bound, variable = _WORDS[name]
            return (
                f"{name}: {bound(size)} is more than the {bound(most)} that this worker allows ({variable})"
            )
    return ""


def _in_units(size: float) -> str:
    """Return a size as the task format takes it: the largest unit that divides it."""
    whole = int(size)
    for power, unit in ((40, "t"), (30, "g"), (20, "m"), (10, "k")):
        if whole % (1 << power) == 0:
            return f"{whole >> power}{unit}"
    return f"{whole}b"


def in_go_form(seconds: float) -> str:
    """Return a duration as the task format takes it: 2h, 90m, 45s."""
    for length, unit in ((3600, "h"), (60, "m")):
        if seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:g}s"


#: Field -> (its amount in words, the variable of its ceiling).
_WORDS: dict[str, tuple[Callable[[float], str], str]] = {
    "memory": (_in_units, "FERRYMAN_MAX_MEMORY"),
    "shm": (_in_units, "FERRYMAN_MAX_SHM"),
    "timeout": (in_go_form, "FERRYMAN_MAX_TIMEOUT_SECONDS"),
}
