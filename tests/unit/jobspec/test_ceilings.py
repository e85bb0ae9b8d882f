"""Ceilings of an operator: a task that asks for more is refused at its place, and again on the worker's host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import SettingsError
from engine.jobspec import schema
from engine.jobspec.ceilings import Ceilings, ceilings_from, in_go_form, memory_denial
from engine.jobspec.problems import Invalid
from engine.jobspec.task import HostAccess

ACCESS = HostAccess(ceilings=ceilings_from("1g", "64m", 5400))
TASK = "name: x\nimage: busybox:1.36\n"


def faults(text: str, access: HostAccess = ACCESS) -> dict[str, tuple[int, int]]:
    """Return the place of each problem of a task."""
    try:
        schema.check((TASK + text).encode(), "yaml", access)
    except Invalid as exc:
        return {problem.path: (problem.line, problem.column) for problem in exc.problems}
    return {}


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("limits: {memory: 1g}\nshm: 64m\ntimeout: 1h30m\n", {}),
        ("limits: {memory: 1025m}\n", {"limits.memory": (3, 10)}),
        ("limits: {memory: 1073741825}\n", {"limits.memory": (3, 10)}),
        ("shm: 65m\n", {"shm": (3, 1)}),
        ("timeout: 1h30m0.1s\n", {"timeout": (3, 1)}),
        ("pre:\n- {image: a, timeout: 2h}\npost:\n- {image: a, timeout: 91m}\n", {
            "pre[0].timeout": (4, 14), "post[0].timeout": (6, 14),
        }),
        ("limits: {memory: 64t}\nshm: 64t\ntimeout: 8784h\n", {
            "limits.memory": (3, 10), "shm": (4, 1), "timeout": (5, 1),
        }),
    ],
)  # fmt: skip
def test_a_task_that_asks_for_more_is_refused_at_its_place(
    text: str, places: dict[str, tuple[int, int]]
) -> None:
    assert faults(text) == places
    assert faults(text, HostAccess()) == {}, "without ceilings the task is taken"


def test_the_refusal_says_how_much_is_allowed_and_who_may_change_it() -> None:
    with pytest.raises(Invalid) as refused:
        schema.check((TASK + "timeout: 2h\nlimits: {memory: 2g}\n").encode(), "yaml", ACCESS)
    memory, timeout = sorted(refused.value.problems, key=lambda problem: problem.path)
    assert memory.message == '"2g" is more than the 1g that this Ferryman allows'
    assert memory.hint == "write at most 1g, or ask the operator to raise FERRYMAN_MAX_MEMORY"
    assert timeout.message == '"2h" is more than the 90m that this Ferryman allows'
    assert timeout.hint == "write at most 90m, or ask the operator to raise FERRYMAN_MAX_TIMEOUT_SECONDS"


@pytest.mark.parametrize(
    "text", ["shm: [1]\n", "timeout: later\n", "limits: 5\n", "limits: {memory: []}\n", "pre: 5\n"]
)
def test_what_is_no_quantity_is_told_once_and_not_measured(text: str) -> None:
    assert len(faults(text)) == 1


def test_a_worker_refuses_what_another_api_took() -> None:
    assert memory_denial(2 << 30, None, ACCESS.ceilings) == (
        "memory: 2g is more than the 1g that this worker allows (FERRYMAN_MAX_MEMORY)"
    )
    assert "65m is more than the 64m" in memory_denial(1 << 30, 65 << 20, ACCESS.ceilings)
    assert memory_denial(1 << 30, 64 << 20, ACCESS.ceilings) == ""
    assert memory_denial(None, None, ACCESS.ceilings) == memory_denial(1 << 50, 1 << 50, Ceilings()) == ""


@pytest.mark.parametrize("memory", ["lots", "-1", "1k"])
def test_a_ceiling_that_is_no_size_is_a_wrong_setting(memory: str) -> None:
    with pytest.raises(SettingsError, match="FERRYMAN_MAX_MEMORY"):
        ceilings_from(memory, "", 0)
    with pytest.raises(SettingsError, match="FERRYMAN_MAX_SHM"):
        ceilings_from("", memory.replace("1k", "x"), 0)


def test_empty_settings_set_no_ceiling() -> None:
    assert ceilings_from("", "", 0) == Ceilings() == replace(ACCESS, ceilings=Ceilings()).ceilings


@pytest.mark.parametrize(("seconds", "text"), [(7200, "2h"), (5400, "90m"), (45, "45s"), (0.5, "0.5s")])
def test_a_duration_is_written_as_the_task_format_takes_it(seconds: float, text: str) -> None:
    assert in_go_form(seconds) == text
