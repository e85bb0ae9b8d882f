"""Last words of a cancelled container, and long lines, from a real worker's container to the stored log."""

from __future__ import annotations

import pytest

from engine.lifecycle.cancel import cancel
from engine.model.states import LinkState, TaskState
from engine.worker.daemon import sweeper
from tests.support.callers import TESTER
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

EURO_LINE = """
name: long line
image: busybox:1.36
run: |
  i=0; while [ $i -lt 9000 ]; do printf '€'; i=$((i+1)); done; echo
  echo after
"""


def cleans_up(seconds: float) -> str:
    """Return a task that, when it is told to end, needs this long for its last lines."""
    return (
        "name: cleans up\nimage: busybox:1.36\nrun: |\n"
        f"  trap 'echo cleaning up; sleep {seconds}; echo cleaned; exit 9' TERM\n"
        "  echo working\n  while :; do sleep 0.1; done\n"
    )


def test_a_cancelled_container_is_heard_to_its_end(sqlite_fleet: Fleet) -> None:
    # Longer than the interval of the sweeps, of this worker and of its neighbour on the daemon.
    seconds = sweeper._EVERY_SECONDS + 1.5
    grace = {"FERRYMAN_KILL_GRACE_SECONDS": str(seconds + 4)}
    for queue in ("default", "other"):
        sqlite_fleet.worker("-Q", queue, "-c", "1", **grace)
    (id,) = sqlite_fleet.submit(cleans_up(seconds))
    wait_until(lambda: sqlite_fleet.log(id) == "working\n", 30)
    cancel(sqlite_fleet.installation, TESTER, id)
    wait_until(lambda: sqlite_fleet.links(id)[0].exit_code is not None, 40)
    assert sqlite_fleet.log(id) == "working\ncleaning up\ncleaned\n"
    (link,) = sqlite_fleet.links(id)
    assert (link.state, link.exit_code) == (LinkState.ENDED, 9)
    assert sqlite_fleet.task(id).state is TaskState.CANCELLED
    notes = [event.reason for event in sqlite_fleet.events(id) if event.kind == "note"]
    assert notes == ["main: ended after the cancel with exit code 9"]
    wait_until(lambda: not sqlite_fleet.left_over(), 20)


def test_bytes_that_are_no_text_come_back_as_written(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.worker("-c", "1")
    (id,) = sqlite_fleet.submit(
        "name: bytes\nimage: busybox:1.36\nrun: printf 'a\\377\\000\\303\\n\\342\\202'\n"
    )
    sqlite_fleet.ended([id], 40)
    assert sqlite_fleet.log(id).encode("utf-8", "surrogateescape") == b"a\xff\0\xc3\n\xe2\x82"


def test_a_long_line_of_many_bytes_per_character_is_stored_as_written(sqlite_fleet: Fleet) -> None:
    sqlite_fleet.worker("-c", "1")
    (id,) = sqlite_fleet.submit(EURO_LINE)
    (task,) = sqlite_fleet.ended([id], 40)
    assert sqlite_fleet.log(id) == task.result == "€" * 9000 + "\nafter\n"
