"""A short soak, and tests of the soak's own checks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.model.records import Attempt, Event, Link, RunKey, Task
from engine.model.states import JobState, LinkState, TaskState
from engine.runtime.base import Resource
from tests.chaos.soaking.plans import draw
from tests.support.databases import missing
from tests.support.docker_daemon import BUSYBOX, require_docker
from tests.support.fleet import ROOT
from tests.support.records import a_link, a_task
from tests.support.task_promises import Expected, Story, broken, doubled

PRE, MAIN = "a" * 64, "b" * 64
COMPLETED, FAILED, CANCELLED = TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED
EXPECTED = Expected(COMPLETED, frozenset({1}), {"pre0": 2, "main": 3})


def _soak(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.soak", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _said(process: subprocess.Popen[str], seconds: float) -> str:
    """Return the output of the soak; a soak that takes longer is stopped and cleans up."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        raise AssertionError(f"not over after {seconds} s:\n{said}") from None


def _servers() -> None:
    require_docker(BUSYBOX)
    if not any((Path(folder) / "redis-server").exists() for folder in os.get_exec_path()):
        missing("no redis-server: apt-get install redis-server")


@pytest.mark.docker
@pytest.mark.timeout(420)
def test_a_minute_of_random_faults_breaks_no_promise() -> None:
    _servers()
    process = _soak("--seed", "4", "--minutes", "1", "--every", "2.5", "--open", "6", "--settle", "200")
    said = _said(process, 380)
    print(said)
    assert process.returncode == 0, said
    assert "every promise was kept" in said
    faults, stored = re.search(r"^faults +(\d+)", said, re.M), re.search(r"^submitted +(\d+)", said, re.M)
    assert faults and stored and int(faults[1]) > 2 and int(stored[1]) > 2, "it did try something"


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("database", "seed"), [("sqlite", "301"), ("postgresql", "302")])
def test_ten_minutes_of_random_faults_break_no_promise(database: str, seed: str) -> None:
    _servers()
    process = _soak("--seed", seed, "--minutes", "10", "--database", database, "--settle", "400")
    said = _said(process, 1100)
    print(said)
    assert process.returncode == 0, said
    wanted = ["Docker errs", "Docker cuts", "Docker delays"]
    # A disk of its own needs root, and only PostgreSQL can be made read-only.
    wanted += ["disk full"] if os.geteuid() == 0 else []
    wanted += ["store read-only"] if database == "postgresql" else ["store away"]
    (faults,) = re.findall(r"^faults .*", said, re.M)
    assert all(kind in faults for kind in wanted), faults


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_soak_that_is_interrupted_leaves_nothing() -> None:
    _servers()
    process = _soak("--seed", "5", "--minutes", "5")
    assert process.stdout is not None
    for line in process.stdout:
        if "RUNNING" in line:
            break
    process.send_signal(signal.SIGINT)
    said = _said(process, 60)
    assert process.returncode == 130, said
    assert "Nothing is left running" in said
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "ferryman-soak-5-" not in table
    assert not list(Path(tempfile.gettempdir()).glob("ferryman-soak-5-*"))


def test_a_plan_is_drawn_from_the_seed_alone(tmp_path: Path) -> None:
    first = [draw(7, n, tmp_path) for n in range(40)]
    assert first == [draw(7, n, tmp_path) for n in range(40)]
    assert first != [draw(8, n, tmp_path) for n in range(40)]
    assert {plan.kind for plan in first} >= {"well", "main fails", "fails once"}


def _task(**values: Any) -> Task:
    plain = {"name": "soak-0", "state": COMPLETED, "origin": 1, "result": f"{MAIN[:12]} {PRE[:12]}\n"}
    return a_task(**plain | values)


def _link(index: int, kind: str, name: str, container: str, **values: Any) -> Link:
    plain = {"index": index, "kind": kind, "name": name, "container_id": container, "exit_code": 0}
    plain |= {"state": LinkState.ENDED, "started_at": 10 * index, "ended_at": 10 * index + 9}
    return a_link(**plain | values)


def _end(attempt: int, to: TaskState, kind: str = "task", before: TaskState = TaskState.RUNNING) -> Event:
    return Event("1", 0, "j", "t", attempt, 1, kind, before, to, None, "node:n1", None)


def _frames(
    container: str, name: str, numbers: list[int], index: int
) -> list[tuple[tuple[int, int, int], str]]:
    return [((1, 1, index), f"{container[:12]} {name} {n}\n") for n in numbers]


def _whole() -> Story:
    return Story(
        task=_task(),
        job_state=JobState.COMPLETED,
        attempts=[Attempt("t", 1, COMPLETED, None, None, 0, 1, 0, None)],
        links=[_link(0, "pre", "pre0", PRE), _link(1, "main", "main", MAIN)],
        events=[_end(1, COMPLETED)],
        frames=_frames(PRE, "pre0", [1, 2], 0) + _frames(MAIN, "main", [1, 2, 3], 1),
    )


def test_a_whole_story_breaks_nothing() -> None:
    assert broken(_whole(), EXPECTED) == []


def _with(**values: Any) -> Callable[[Story], Story]:
    return lambda story: replace(story, **values)


def _main_said(*numbers: int) -> Callable[[Story], Story]:
    return _with(frames=_frames(PRE, "pre0", [1, 2], 0) + _frames(MAIN, "main", list(numbers), 1))


PLANTED: dict[str, tuple[Callable[[Story], Story], str]] = {
    "open": (_with(task=_task(state=TaskState.RUNNING)), "has not ended"),
    "another end": (_with(task=_task(state=FAILED), job_state=JobState.FAILED), "FAILED at attempt 1, not"),
    "a retry used": (_with(task=_task(attempt=2)), "attempt 1 was used up by no failure"),
    "cancelled by nobody": (_with(task=_task(state=CANCELLED)), "nobody asked"),
    "job apart": (_with(job_state=JobState.RUNNING), "its job is RUNNING"),
    "two ends": (_with(events=[_end(1, COMPLETED)] * 2), "ends by attempt: {1: 2}"),
    "no end": (_with(events=[]), "ends by attempt: {}"),
    "left an end": (
        _with(events=[_end(1, COMPLETED), _end(1, TaskState.RUNNING, "repair", COMPLETED)]),
        "went from COMPLETED to RUNNING",
    ),
    "attempt open": (
        _with(attempts=[Attempt("t", 1, TaskState.RUNNING, None, None, 0, None, None, None)]),
        "attempts [1] have no end",
    ),
    "another's result": (_with(task=_task(result=f"{'c' * 12} {PRE[:12]}\n")), "its rows name"),
    "a fresh volume": (_with(task=_task(result=f"{MAIN[:12]}\n")), "its rows name"),
    "out of order": (
        _with(links=[_link(0, "pre", "pre0", PRE, ended_at=15), _link(1, "main", "main", MAIN)]),
        "began 5 ms before",
    ),
    "a doubled line": (_main_said(1, 2, 2, 3), "its log has"),
    "a gap": (_main_said(1, 3), "its log has"),
    "a lost tail": (_main_said(1, 2), "said 3 lines, 2 are in its log"),
    "no log": (_main_said(), "said 3 lines, 0 are in its log"),
    "half a line": (_with(frames=[((1, 1, 0), "aaaa\n")]), "no container said whole"),
    "another's log": (
        _with(frames=[*_whole().frames[:-1], ((1, 1, 0), f"{MAIN[:12]} main 3\n")]),
        "wrote into the logs of",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    plant, words = PLANTED[fault]
    found = broken(plant(_whole()), EXPECTED)
    assert any(words in said for said in found), found


def test_what_was_removed_by_hand_may_lack_its_last_lines_and_none_between() -> None:
    removed = frozenset({MAIN[:12]})
    assert broken(replace(_main_said(1, 2)(_whole()), removed=removed), EXPECTED) == []
    assert broken(replace(_main_said(1, 3)(_whole()), removed=removed), EXPECTED)


def test_a_confirmed_cancel_is_held_to() -> None:
    asked = replace(EXPECTED, may_be_cancelled=True)
    cancelled = replace(_whole(), task=_task(state=CANCELLED), job_state=JobState.CANCELLED)
    cancelled.events = [_end(1, CANCELLED)]
    assert broken(cancelled, asked) == []
    assert broken(_whole(), asked) == []
    assert "its cancel was confirmed" in broken(_whole(), replace(asked, is_cancelled=True))[0]


def test_two_containers_of_one_link_at_once_are_seen() -> None:
    one = Resource("container", "1", "n", RunKey("t", 1, 1), 0, "running")
    assert doubled([one, replace(one, id="2", state="exited"), replace(one, id="3", index=1)]) == []
    assert doubled([one, replace(one, id="2", run=RunKey("t", 1, 2))]) == [
        "2 containers of link 0 of t run at once"
    ]
