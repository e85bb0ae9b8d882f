"""kill -9 of a worker while its container writes far more than the stored log keeps."""

from __future__ import annotations

import re

import pytest

from engine.model.log_gap import is_gap
from engine.model.states import TaskState
from engine.store import logs
from tests.support.counting_task import repairs
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker

#: The smallest bound that a setting may have.
BOUND = 65_536
BATCHES, LINES, ERRORS = 20, 100, 10
#: In each batch a hundred lines of 100 bytes to standard output, and ten to standard error.
TALKS = f"""
name: talks
image: busybox:1.36
run: |
  pad=$(printf '%080d' 0)
  for b in $(seq 0 {BATCHES - 1}); do
    for i in $(seq 1 {LINES}); do printf 'out %06d %s\\n' $((b * {LINES} + i)) ${{pad}}12345678; done
    for i in $(seq 1 {ERRORS}); do printf 'err %06d %s\\n' $((b * {ERRORS} + i)) ${{pad}}12345678 >&2; done
    sleep 0.25
  done
retry: {{limit: 0}}
"""
SIZE = 100


def _head(fleet: Fleet, task_id: str) -> logs.Head:
    with fleet.db.read() as c:
        return logs.head(c, task_id)


def test_an_adopter_goes_on_with_a_cut_log_without_a_gap_or_a_doubled_line(sqlite_fleet: Fleet) -> None:
    _talk_and_adopt(sqlite_fleet)


@pytest.mark.long
def test_an_adopter_goes_on_with_a_cut_log_on_each_store(fleet: Fleet) -> None:
    _talk_and_adopt(fleet)


def _talk_and_adopt(fleet: Fleet) -> None:
    doomed = fleet.worker("-c", "1", FERRYMAN_LOG_BYTES=str(BOUND))
    fleet.worker("-Q", "other", "-c", "1", FERRYMAN_LOG_BYTES=str(BOUND))
    (task_id,) = fleet.submit(TALKS)
    wait_until(lambda: _head(fleet, task_id).missing_bytes, 60)
    container = fleet.links(task_id)[0].container_id
    before = _head(fleet, task_id)
    doomed.kill()
    (task,) = fleet.ended([task_id], 90)
    assert (task.state, task.attempt, task.crashes) == (TaskState.COMPLETED, 1, 1), task.error
    assert repairs(fleet, task_id) and fleet.links(task_id)[0].container_id == container
    head = _head(fleet, task_id)
    assert before.lines < head.lines == BATCHES * (LINES + ERRORS), "each line was counted in once"
    assert head.bytes + head.missing_bytes == SIZE * head.lines
    assert BOUND * 3 // 4 < head.bytes <= BOUND
    _check_lines(fleet, task_id)


def _check_lines(fleet: Fleet, task_id: str) -> None:
    """Check that each stream counts from its first line up to the gap, and after the gap to its last line."""
    with fleet.db.read() as c:
        frames = [frame for chunk in logs.chunks(c, task_id, limit=10_000) for frame in chunk.frames]
    (at,) = [n for n, (stream, _, text) in enumerate(frames) if is_gap(stream, text)]
    for stream, name, count in ((1, "out", BATCHES * LINES), (2, "err", BATCHES * ERRORS)):
        numbers = [
            [
                int(re.fullmatch(rf"{name} (\d{{6}}) 0{{80}}12345678\n", text)[1])
                for one, _, text in part
                if one == stream
            ]
            for part in (frames[:at], frames[at + 1 :])
        ]
        assert numbers[0] == list(range(1, len(numbers[0]) + 1)) and numbers[0]
        assert numbers[1] == list(range(count - len(numbers[1]) + 1, count + 1)) and numbers[1]
