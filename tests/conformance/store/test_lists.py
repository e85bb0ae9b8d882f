"""Queries behind the lists for people, the same on both stores."""

from __future__ import annotations

from engine.model.records import LogPosition
from engine.model.states import JobState, TaskState
from engine.model.tree import Course
from engine.store import jobs, log_lines, logs, tasks
from engine.store.database import Database
from tests.support import log_rows
from tests.support.task_rows import running, submitted


def test_jobs_are_found_in_any_of_some_states_and_counted(db: Database) -> None:
    tasks_of = [submitted(db, f"job {n}") for n in range(3)]
    with db.begin() as c:
        assert jobs.end(c, Course(tasks_of[0].job_id, JobState.FAILED, error="why"))
    with db.read() as c:
        ended, total = jobs.page(c, 1, 10, states=(JobState.FAILED, JobState.COMPLETED))
        assert ([job.id for job in ended], total) == ([tasks_of[0].job_id], 1)
        assert jobs.page(c, 1, 1, states=(JobState.PENDING,))[1] == 2
        assert jobs.page(c, 1, 10)[1] == 3
        assert jobs.counts(c) == {JobState.PENDING: 2, JobState.FAILED: 1}
        asked = [task.job_id for task in tasks_of[:2]]
        assert {job.id for job in jobs.of_ids(c, [*asked, "0" * 32])} == set(asked)


def test_a_tasks_summary_leaves_out_what_may_be_long(db: Database) -> None:
    task = submitted(db, "say hello")
    with db.read() as c:
        (found,) = tasks.summaries(c, [task.job_id])
        assert tasks.summaries(c, []) == []
    assert (found.id, found.state, found.spec, found.result) == (task.id, TaskState.PENDING, {}, None)
    assert (found.name, found.created_at) == (task.name, task.created_at)


def test_the_last_frames_come_with_notes_and_in_order(db: Database) -> None:
    task = running(db, "writes")
    with db.begin() as c:
        for n in range(5):
            frames = [(n % 3, "", f"line {n}\n")]
            assert log_rows.append(
                c, task.token, task.origin, 0, [logs.piece(frames)], LogPosition(), 1 << 20
            )
    with db.read() as c:
        assert [line.frame[2] for line in log_lines.last(c, task.id, 3)] == [
            "line 2\n",
            "line 3\n",
            "line 4\n",
        ]
        assert [line.number for line in log_lines.last(c, task.id, 99)] == [1, 2, 3, 4, 5]
        assert log_lines.last(c, "0" * 32, 3) == []
