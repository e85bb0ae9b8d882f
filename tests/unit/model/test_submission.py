"""A submitted task as the records to insert."""

from __future__ import annotations

import pytest

from engine.jobspec.task import LinkSpec, TaskSpec
from engine.model.records import Job, PlannedLink, Task
from engine.model.states import TaskState
from engine.model.submission import job_of_one


def _job_of_one(**fields: object) -> tuple[Job, Task]:
    spec = TaskSpec(name="say hello", main=LinkSpec(image="i"), **fields)  # type: ignore[arg-type]
    job, (task,) = job_of_one(spec, job_id="j", task_id="t", default_queue="default")
    return job, task


def test_a_task_alone_becomes_a_job_of_one_task_with_its_name() -> None:
    job, task = _job_of_one(description="d", tags=("x",), priority=3)
    assert job == Job("j", "say hello", "d", ("x",))
    spec = {"name": "say hello", "image": "i", "description": "d", "tags": ["x"], "priority": 3}
    assert task == Task(
        "t", "j", 1, "say hello", "default", 3, spec, None, (PlannedLink("main", "main", "i", False),)
    )
    assert (task.state, task.attempt, task.delivery, task.origin) == (TaskState.PENDING, 1, 1, 0)


def test_the_tasks_own_queue_goes_before_the_default_one() -> None:
    assert _job_of_one(queue="transcoding")[1].queue == "transcoding"


@pytest.mark.parametrize(
    ("timeout", "timeout_ms"), [(None, None), ("5s", 5000), ("1h30m", 5_400_000), ("0.1ms", 1), ("1us", 1)]
)
def test_the_time_out_is_in_whole_milliseconds_and_never_none_by_rounding(
    timeout: str | None, timeout_ms: int | None
) -> None:
    assert _job_of_one(timeout=timeout)[1].timeout_ms == timeout_ms


@pytest.mark.parametrize(("timeout", "timeout_ms"), [(None, 5_400_000), ("5s", 5000)])
def test_a_task_without_a_time_out_has_the_longest_that_is_allowed(
    timeout: str | None, timeout_ms: int
) -> None:
    spec = TaskSpec(name="x", main=LinkSpec(image="i"), timeout=timeout)
    _, (task,) = job_of_one(spec, job_id="j", task_id="t", default_queue="default", longest_seconds=5400)
    assert task.timeout_ms == timeout_ms
