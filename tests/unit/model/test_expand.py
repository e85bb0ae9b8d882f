"""What a submitted task becomes, as rows."""

from __future__ import annotations

import pytest

from engine.jobspec.task import LinkSpec, TaskSpec
from engine.model import submission


def _first(**fields: object) -> submission.JobRows:
    spec = TaskSpec(name="n", main=LinkSpec(image="i"), **fields)  # type: ignore[arg-type]
    return submission.first(spec, {"name": "n"}, job_id="j", task_id="t", queue="default")


def test_a_task_alone_becomes_a_job_of_one_task_with_its_name() -> None:
    rows = _first(description="d", tags=("x",), priority=3)
    assert rows.job == submission.JobRow("j", "n", "d", ("x",))
    assert rows.tasks == (submission.TaskRow("t", "j", 1, "n", "default", 3, {"name": "n"}, None),)


def test_the_tasks_own_queue_goes_before_the_default_one() -> None:
    assert _first(queue="transcoding").tasks[0].queue == "transcoding"


@pytest.mark.parametrize(("timeout", "wanted"), [("5s", 5000), ("1h30m", 5_400_000), ("1ms", 1), ("1us", 1)])
def test_the_time_out_is_in_whole_milliseconds_and_never_none_by_rounding(timeout: str, wanted: int) -> None:
    assert _first(timeout=timeout).tasks[0].timeout_ms == wanted
