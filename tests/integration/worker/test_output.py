"""Output directories of links: bounded in bytes and files, and a link that writes more FAILS in words."""

from __future__ import annotations

import time

import pytest

from engine.model.states import LinkState, TaskState
from tests.support.docker_daemon import BUSYBOX
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

BOUNDS = {"FERRYMAN_OUTPUT_BYTES": str(2 << 20), "FERRYMAN_OUTPUT_FILES": "50"}
WRITING = "dd if=/dev/zero of=/ferryman/out/{name} bs=1024 count=4096 2>/dev/null"


@pytest.fixture
def fleet(sqlite_fleet: Fleet) -> Fleet:
    sqlite_fleet.worker("-c", "3", **BOUNDS)
    return sqlite_fleet


def submitted(fleet: Fleet, script: str, more: str = "") -> str:
    (id,) = fleet.submit(f"name: x\nimage: {BUSYBOX}\nrun: |\n  {script}\n{more}")
    return id


def test_a_link_that_writes_too_much_is_killed_and_says_so(fleet: Fleet) -> None:
    began = time.monotonic()
    post = f"post: [{{image: '{BUSYBOX}', run: 'echo after', always: true}}]\n"
    id = submitted(fleet, f"echo begun; {WRITING.format(name='x')}; trap '' TERM; sleep 60", post)
    fleet.ended([id], 40)
    task = fleet.task(id)
    assert task.state is TaskState.FAILED and time.monotonic() - began < 15
    assert task.error is not None
    assert task.error.startswith("main: wrote ")
    assert "to its output directory, of which 2.0 MB are allowed (FERRYMAN_OUTPUT_BYTES)" in task.error
    assert fleet.log(id) == "begun\nafter\n"
    assert [link.state for link in fleet.links(id)] == [LinkState.ENDED] * 2
    wait_until(lambda: not fleet.left_over(), 15)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (WRITING.format(name="result"), "to its output directory, of which 2.0 MB are allowed"),
        ("cd /ferryman/out; for n in $(seq 60); do : > f$n; done", "made more than 50 files in its output"),
        (
            "cd /ferryman/out; for n in $(seq 60); do mkdir d; cd d; done; for n in $(seq 60); do cd ..; done",
            "made more than 50 files",
        ),
    ],
)
def test_a_link_that_ended_before_the_watch_came_fails_too(fleet: Fleet, script: str, says: str) -> None:
    id = submitted(fleet, script)
    fleet.ended([id], 40)
    task = fleet.task(id)
    # A look of the watch may have come in between, and ended it by a signal.
    assert task.state is TaskState.FAILED and task.exit_code in (1, 137, 143)
    assert says in (task.error or "")
    wait_until(lambda: not fleet.left_over(), 15)


def test_the_bounds_are_for_each_link_and_what_is_within_them_changes_nothing(fleet: Fleet) -> None:
    within = (
        "dd if=/dev/zero of=/ferryman/out/x bs=1024 count=1500 2>/dev/null; echo -n ok > $FERRYMAN_OUTPUT"
    )
    pre = f"pre: [{{image: '{BUSYBOX}', run: '{within}'}}, {{image: '{BUSYBOX}', run: '{within}'}}]\n"
    id = submitted(fleet, within, pre)
    fleet.ended([id], 40)
    assert (fleet.task(id).state, fleet.task(id).result) == (TaskState.COMPLETED, "ok")


def test_a_link_that_failed_by_itself_keeps_its_own_reason(fleet: Fleet) -> None:
    id = submitted(fleet, f"{WRITING.format(name='x')}; exit 3")
    fleet.ended([id], 40)
    task = fleet.task(id)
    # The watch may have come in between; then its reason counts.
    assert task.exit_code == 3 or "wrote" in (task.error or "")
