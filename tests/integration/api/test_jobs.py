"""Jobs over HTTP: pages, search, a job with its tasks."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from api.context import ApiContext
from engine.model.states import JobState
from engine.model.tree import Course
from engine.store import jobs
from tests.support.task_rows import submitted


def _page(client: FlaskClient, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/jobs{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json
    return page


def test_no_jobs_is_an_empty_page(client: FlaskClient) -> None:
    assert _page(client) == {"items": [], "number": 1, "size": 20, "totalPages": 0, "totalItems": 0}


def test_pages_are_newest_first_and_hold_each_job_once(client: FlaskClient, context: ApiContext) -> None:
    job_ids = [submitted(context.installation.db, f"job {number}").job_id for number in range(7)]
    pages = [_page(client, f"?page={number}&size=3") for number in (1, 2, 3, 4)]
    assert [len(page["items"]) for page in pages] == [3, 3, 1, 0]
    assert all((page["totalPages"], page["totalItems"]) == (3, 7) for page in pages)
    seen = [job["id"] for page in pages for job in page["items"]]
    assert sorted(seen) == sorted(job_ids)
    assert [job["createdAt"] for page in pages for job in page["items"]] == sorted(
        (job["createdAt"] for page in pages for job in page["items"]), reverse=True
    )


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("video", ["convert a video"]),
        ("tag:nightly", ["backup"]),
        ("a+video", ["convert a video"]),
        ("zzz", []),
        ("%25", []),
    ],
)
def test_a_search_finds_names_and_tags(
    client: FlaskClient, context: ApiContext, q: str, wanted: list[str]
) -> None:
    submitted(context.installation.db, "convert a video")
    submitted(context.installation.db, "backup", tags=("nightly",))
    assert [job["name"] for job in _page(client, f"?q={q}")["items"]] == wanted


def test_jobs_are_filtered_by_state(client: FlaskClient, context: ApiContext) -> None:
    failed = submitted(context.installation.db)
    submitted(context.installation.db)
    with context.installation.db.begin() as c:
        jobs.end(c, Course(failed.job_id, JobState.FAILED, error="exit 1"))
    page = _page(client, "?state=FAILED")
    assert [(job["id"], job["error"]) for job in page["items"]] == [(failed.job_id, "exit 1")]
    assert "failedAt" in page["items"][0]


def test_a_job_holds_its_tasks(client: FlaskClient, context: ApiContext) -> None:
    task = submitted(context.installation.db, tags=("x",), description="more")
    job = client.get(f"/jobs/{task.job_id[:10]}").json
    assert job is not None
    wanted = {
        "id": task.job_id,
        "name": "say hello",
        "description": "more",
        "tags": ["x"],
        "state": "PENDING",
        "taskCount": 1,
    }
    assert wanted.items() <= job.items()
    assert [task_answer["id"] for task_answer in job["tasks"]] == [task.id]
    assert "tasks" not in _page(client)["items"][0]


def test_a_state_may_be_written_in_lower_case(client: FlaskClient, context: ApiContext) -> None:
    submitted(context.installation.db)
    assert client.get("/jobs?state=pending").get_json()["totalItems"] == 1
    assert client.get("/jobs?state=failed").get_json()["totalItems"] == 0
    assert client.get("/jobs?state=lost").status_code == 400
