"""Submitted tasks: chains drawn from the seed, each with its expected end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from engine.model.states import TaskState
from tests.support.task_promises import Expected

IMAGE = "busybox:1.36"
#: The exit code of a link that fails on purpose.
ON_PURPOSE = 3
#: Directory that outlives an attempt, where containers note that they have failed on purpose.
NOTES = "/notes"

_KINDS = {"well": 60, "main fails": 10, "fails once": 14, "pre fails": 5, "post fails": 5, "timeout": 6}
_FAIL = f"exit {ON_PURPOSE}\n"


@dataclass(frozen=True)
class Plan:
    """One task to be submitted."""

    name: str
    kind: str
    body: dict[str, Any]
    expected: Expected
    #: Seconds from the submission to the cancel; None: no cancel.
    cancel_after: float | None


def draw(seed: int, number: int, notes: Path) -> Plan:
    """Return task `number` of this seed."""
    chance = Random(f"{seed}-task-{number}")
    name = f"soak-{number}"
    kind = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
    pres = chance.choice([0, 0, 1, 2]) or int(kind == "pre fails")
    posts = chance.choice([0, 0, 1, 2]) or int(kind == "post fails")
    limit = chance.choice([1, 2]) if kind == "fails once" else chance.choice([0, 0, 1, 2])
    always = bool(posts) and kind != "post fails" and chance.random() < 0.5
    scripts = [_script(f"pre{n}", chance, 1.0) + f"echo $me > /data/pre{n}\n" for n in range(pres)]
    scripts.append(_script("main", chance, 4.0) + _result(pres))
    scripts += [_script(f"post{n}", chance, 1.0) for n in range(posts)]
    scripts[_culprit(kind, pres)] += _ending(kind, name)
    lines: dict[str, int | None] = {}
    for text in scripts:
        lines[text.split()[0].removeprefix("name=")] = int(text.split()[1].removeprefix("lines="))
    body = _body(name, scripts, pres, notes) | {"retry": {"limit": limit, "initialDelay": "200ms"}}
    body["queue"] = chance.choice(["default", "default", "default", "other"])
    body["priority"] = chance.choice([0, 0, 0, 5])
    if kind == "timeout":
        body["timeout"] = "4s"
        lines["main"] = None
    if always:
        body["post"][-1]["always"] = True
    last = (f"post{posts - 1}",) if always and kind == "main fails" else ()
    expected = _expected(kind, limit, lines, last)
    cancel_after = chance.uniform(0, 8) if chance.random() < 0.06 else None
    return Plan(name, kind, body, expected, cancel_after)


#: The container's own short id. (Its host name is that of the network that it joined.)
_ME = (
    r"sed -n 's|.*\([0-9a-f]\{12\}\)[0-9a-f]\{52\}.*|\1|p' /proc/self/cgroup | head -n 1 | grep . || hostname"
)


def _script(name: str, chance: Random, seconds: float) -> str:
    """Return a script that prints numbered lines for about this many seconds; its first line tells how many."""
    if chance.random() < 0.15:
        seconds *= 3
    lines = chance.randint(1, max(2, round(seconds * 4)))
    loop = 'while [ $i -lt $lines ]; do i=$((i+1)); echo "$me $name $i"; sleep 0.25; done'
    return f"name={name} lines={lines} i=0 me=$({_ME})\n{loop}\n"


def _result(pres: int) -> str:
    """Return the expected result: the container that wrote it, and those that filled the volume before."""
    kept = "".join(f" $(cat /data/pre{n})" for n in range(pres))
    return f'echo "$me{kept}" > $FERRYMAN_OUTPUT\n'


def _culprit(kind: str, pres: int) -> int:
    return {"pre fails": pres - 1, "post fails": -1}.get(kind, pres)


def _ending(kind: str, name: str) -> str:
    """Return the commands by which the failing link ends."""
    if kind == "fails once":
        return f"[ -e {NOTES}/{name} ] && exit 0\ntouch {NOTES}/{name}\n{_FAIL}"
    return {"well": "", "timeout": "sleep 60\n"}.get(kind, _FAIL)


def _body(name: str, scripts: list[str], pres: int, notes: Path) -> dict[str, Any]:
    links = [{"name": text.split()[0].removeprefix("name="), "image": IMAGE, "run": text} for text in scripts]
    return {
        "name": name,
        "image": IMAGE,
        "run": scripts[pres],
        "pre": links[:pres],
        "post": links[pres + 1 :],
        "volumes": ["/data"],
        "mounts": [{"type": "bind", "source": str(notes), "target": NOTES, "opts": {"mode": "rw"}}],
    }


def _expected(kind: str, limit: int, lines: dict[str, int | None], always: tuple[str, ...]) -> Expected:
    if kind == "well":
        return Expected(TaskState.COMPLETED, frozenset({1}), lines)
    if kind == "fails once":
        return Expected(TaskState.COMPLETED, frozenset({2}), lines, ON_PURPOSE)
    code = None if kind == "timeout" else ON_PURPOSE
    return Expected(TaskState.FAILED, frozenset({limit + 1}), lines, code, always)


def after_removals(expected: Expected, kind: str) -> Expected:
    """Return the expected end of a task whose containers were removed by hand: what failed once may run again."""
    return replace(expected, attempts=frozenset({1, 2})) if kind == "fails once" else expected
