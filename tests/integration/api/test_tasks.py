"""Tasks over HTTP: submission with each content type, answers, reading, cancelling."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.context import ApiContext
from engine.lifecycle.nodes import hold
from engine.model.records import Caller, Job
from engine.model.states import HoldKind, LinkState, TaskState
from engine.model.tree import Course
from engine.store import attempts, events, jobs, links, tasks
from tests.integration.api.conftest import HELLO, an_app
from tests.support.callers import TESTER
from tests.support.task_rows import count, live_node, running

NO_WORKER = (
    "no worker serves the queue {queue} (no worker runs); start one: celery -A engine worker -Q {queue}"
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HELLO_FIELDS = {"name": "say hello", "image": "busybox:1.36", "cmd": ["echo", "-n", "hello world"]}
FULL = {
    "name": "everything",
    "description": "all fields of a task",
    "image": "busybox:1.36",
    "cmd": ["echo", "x"],
    "env": {"A": "1"},
    "queue": "transcoding",
    "priority": 7,
    "volumes": ["/tmp"],
    "limits": {"cpus": "0.5", "memory": "64m"},
    "timeout": "1h30m",
    "retry": {"limit": 3, "initialDelay": "5s"},
    "pre": [{"name": "fetch", "image": "busybox:1.36", "run": "echo first"}],
    "post": [{"image": "busybox:1.36", "run": "echo last", "always": True}],
    "tags": ["nightly", "media"],
    "var": "size",
}


@pytest.mark.parametrize("path", ["/task", "/tasks"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/yaml", HELLO),
        ("application/yaml", HELLO),
        ("application/x-yaml", HELLO),
        ("TEXT/YAML; charset=UTF-8", "\ufeff" + HELLO),
        ("text/yaml;charset=utf8", HELLO.replace("\n", "\r\n")),
        ("application/json", json.dumps(HELLO_FIELDS)),
        ("application/json; charset=utf-8", json.dumps(HELLO_FIELDS, indent=4)),
    ],
)  # fmt: skip
def test_a_task_is_submitted_with_every_content_type(
    client: FlaskClient, path: str, content_type: str, body: str
) -> None:
    answer = client.post(path, data=body.encode(), content_type=content_type)
    assert answer.status_code == 201, answer.text
    task = _json(answer)
    assert re.fullmatch("[0-9a-f]{32}", task["id"])
    assert re.fullmatch("[0-9a-f]{32}", task["jobId"])
    assert MOMENT.fullmatch(task["createdAt"])
    wanted = {
        "name": "say hello",
        "state": "PENDING",
        "image": "busybox:1.36",
        "cmd": ["echo", "-n", "hello world"],
    }
    assert wanted.items() <= task.items()
    waiting = {"code": "unserved", "message": NO_WORKER.format(queue="default")}
    assert _json(client.get(f"/task/{task['id']}")) == task | {"waiting": waiting}


def test_the_answer_has_the_spec_as_it_was_submitted(client: FlaskClient) -> None:
    task = _json(client.post("/task", json=FULL))
    assert task["retry"] == {"limit": 3, "initialDelay": "5s", "attempts": 0}
    assert {name: task[name] for name in FULL if name != "retry"} == {
        n: v for n, v in FULL.items() if n != "retry"
    }


def test_the_rows_are_all_there_after_201(client: FlaskClient, context: ApiContext) -> None:
    task_id = _json(client.post("/task", json=FULL))["id"]
    with context.installation.db.read() as c:
        task = tasks.get(c, task_id)
        happened = events.after(c, None, task_id=task_id)
    assert task is not None
    assert (task.state, task.attempt, task.delivery, task.origin, task.sends, task.crashes) == (
        TaskState.PENDING, 1, 1, 0, 0, 0,
    )  # fmt: skip
    assert (task.queue, task.priority) == ("transcoding", 7)
    assert [(event.kind, event.from_state, event.to_state) for event in happened] == [
        ("task", None, "PENDING")
    ]


def test_a_task_that_names_no_queue_goes_to_the_default_one(client: FlaskClient, task_id: str) -> None:
    assert _json(client.get(f"/task/{task_id}"))["queue"] == "default"


def test_the_answer_shows_links_and_attempts_of_a_run(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db)
    with context.installation.db.begin() as c:
        assert links.confirm(c, task.token, task.origin, 0, "c" * 64)
        assert links.end(c, (task.token, task.origin, 0), "c" * 64, 0, None)
        assert tasks.end(c, task.token, TaskState.COMPLETED, exit_code=0, result="hello", error=None)
        attempts.end(c, task.token, TaskState.COMPLETED, 0, None)
    answer = _json(client.get(f"/tasks/{task.id}"))
    assert {"state": "COMPLETED", "result": "hello", "exitCode": 0, "nodeId": "n1"}.items() <= answer.items()
    assert all(MOMENT.fullmatch(answer[name]) for name in ("createdAt", "startedAt", "completedAt"))
    link, attempt = answer["links"][0], answer["attempts"][0]
    assert {
        "index": 0,
        "kind": "main",
        "state": "ENDED",
        "exitCode": 0,
        "containerId": "c" * 64,
    }.items() <= link.items()
    assert {"attempt": 1, "state": "COMPLETED", "nodeId": "n1", "exitCode": 0}.items() <= attempt.items()
    assert "links" not in attempt


def test_links_of_an_earlier_attempt_are_shown_with_it(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db)
    with context.installation.db.begin() as c:
        assert tasks.retry(c, task.token, 0)
        attempts.end(c, task.token, TaskState.FAILED, 1, "exit 1")
    answer = _json(client.get(f"/task/{task.id}"))
    assert answer["links"] == []
    assert answer["retry"]["attempts"] == 1
    assert [link["attempt"] for link in answer["attempts"][0]["links"]] == [1]


def test_the_id_of_a_task_may_be_shortened_or_be_that_of_its_job(client: FlaskClient, task_id: str) -> None:
    task = _json(client.get(f"/task/{task_id}"))
    for id in (task_id[:8], task_id.upper(), task["jobId"], task["jobId"][:8]):
        assert _json(client.get(f"/tasks/{id}"))["id"] == task_id


def test_an_ambiguous_id_is_a_409(client: FlaskClient, context: ApiContext) -> None:
    with context.installation.db.begin() as c:
        jobs.insert(c, Job("abcd0" + "0" * 27, "a", None, ()))
        jobs.insert(c, Job("abcd1" + "0" * 27, "b", None, ()))
    answer = client.get("/jobs/abcd")
    assert answer.status_code == 409
    assert "write more of the id" in answer.get_json(force=True)["detail"]


@pytest.mark.parametrize(
    "path", ["/tasks/{task}/cancel", "/jobs/{job}/cancel", "/tasks/{job}/cancel", "/jobs/{task}/cancel"]
)
def test_cancel_ends_task_and_job_and_may_be_repeated(client: FlaskClient, task_id: str, path: str) -> None:
    job_id = _json(client.get(f"/task/{task_id}"))["jobId"]
    for _ in range(2):
        answer = client.put(path.format(task=task_id, job=job_id))
        assert (answer.status_code, answer.json) == (200, {"status": "OK"})
    task, job = _json(client.get(f"/task/{task_id}")), _json(client.get(f"/jobs/{job_id}"))
    assert (task["state"], job["state"]) == ("CANCELLED", "CANCELLED")
    assert MOMENT.fullmatch(task["cancelledAt"])
    assert MOMENT.fullmatch(job["cancelledAt"])


def test_cancelling_a_running_task_ends_its_attempt_and_skips_waiting_links(
    client: FlaskClient, context: ApiContext
) -> None:
    task = running(context.installation.db)
    assert client.put(f"/tasks/{task.id}/cancel").status_code == 200
    answer = _json(client.get(f"/task/{task.id}"))
    assert answer["attempts"][0]["state"] == "CANCELLED"
    assert answer["links"][0]["state"] == LinkState.SKIPPED
    with context.installation.db.read() as c:
        last = events.after(c, None, task_id=task.id, settled=True)[-1]
    assert (last.from_state, last.to_state, last.node) == ("RUNNING", "CANCELLED", "n1")


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED])
def test_an_ended_task_cannot_be_cancelled(
    client: FlaskClient, context: ApiContext, state: TaskState
) -> None:
    from engine.model.states import JobState

    task = running(context.installation.db)
    with context.installation.db.begin() as c:
        tasks.end(c, task.token, state)
        jobs.end(c, Course(task.job_id, JobState(state)))
    before = count(context.installation.db, "events")
    for path in (f"/tasks/{task.id}/cancel", f"/jobs/{task.job_id}/cancel"):
        answer = client.put(path)
        assert answer.status_code == 409
        assert state in answer.get_json(force=True)["detail"]
    assert _json(client.get(f"/task/{task.id}"))["state"] == state
    assert count(context.installation.db, "events") == before


def test_concurrent_cancels_change_the_rows_once(
    client: FlaskClient, context: ApiContext, task_id: str
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from engine.lifecycle.cancel import cancel

    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(lambda _: cancel(context.installation, TESTER, task_id), range(4)))
    assert sorted(changed) == [(), (), (), (task_id,)]


def test_queues_count_waiting_and_running_tasks_and_live_nodes(
    client: FlaskClient, context: ApiContext
) -> None:
    live_node(context.installation.db, "n1", ("default", "media"))
    running(context.installation.db)
    client.post("/task", json={**FULL, "queue": "lonely"})
    client.post("/task", data=HELLO, content_type="text/yaml")
    queues = {queue["name"]: queue for queue in client.get("/queues").json or []}
    assert queues == {
        "default": {"name": "default", "waiting": 1, "running": 1, "subscribers": 1},
        "lonely": {"name": "lonely", "waiting": 1, "running": 0, "subscribers": 0},
        "media": {"name": "media", "waiting": 0, "running": 0, "subscribers": 1},
    }
    ready = _json(client.get("/ready"))
    assert ready == {"status": "UNSERVED", "unserved": ["lonely"], "nodes": 1, "held": []}


def test_nodes_are_listed(client: FlaskClient, context: ApiContext) -> None:
    assert client.get("/nodes").json == []
    live_node(context.installation.db)
    assert _json(client.get("/ready"))["status"] == "READY"
    node = (client.get("/nodes").json or [])[0]
    wanted = {"id": "n1", "state": "LIVE", "runtimeOk": True, "queues": ["default"], "slots": 1}
    assert wanted.items() <= node.items()


def test_health_and_status_answer(client: FlaskClient) -> None:
    assert _json(client.get("/health"))["status"] == "UP"
    assert client.get("/status").json == {"status": "OK"}


def test_every_key_of_an_answer_is_documented(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db, tags=("x",))
    job = _json(client.get(f"/jobs/{task.job_id}"))
    document = _json(client.get("/openapi.json"))
    schemas, paths = document["components"]["schemas"], document["paths"]
    assert set(job) <= set(schemas["JobAnswer"]["properties"])
    assert set(job["tasks"][0]) <= set(schemas["TaskAnswer"]["properties"])
    assert {"/task", "/tasks/{id}/log", "/jobs", "/events", "/queues", "/nodes", "/ready"} <= set(paths)
    assert set(paths["/task"]["post"]["requestBody"]["content"]) == {
        "text/yaml", "application/yaml", "application/x-yaml", "application/json",
    }  # fmt: skip


def test_the_api_applies_the_host_access_of_the_settings(context: ApiContext) -> None:

    allowed = context.installation.settings.replace(bind_sources=("/srv/media",), networks=("backend",))
    client = an_app(allowed).test_client()
    spec = {
        **FULL,
        "mounts": [{"type": "bind", "source": "/srv/media/a", "target": "/in"}],
        "networks": ["backend"],
    }
    assert client.post("/task", json=spec).status_code == 201
    assert client.post("/task", json={**spec, "networks": ["other"]}).status_code == 422


def test_the_api_refuses_what_is_above_a_ceiling_and_gives_every_task_the_longest_time(
    context: ApiContext,
) -> None:

    bounded = context.installation.settings.replace(max_memory="1g", max_timeout_seconds=60.0)
    client = an_app(bounded).test_client()
    spec = {"name": "x", "image": "busybox:1.36"}
    refused = client.post("/task", json={**spec, "limits": {"memory": "2g"}})
    assert refused.status_code == 422
    (problem,) = refused.json["errors"] if "errors" in refused.json else refused.json["problems"]
    assert (problem["path"], problem["line"]) == ("limits.memory", 1)
    taken = _json(client.post("/task", json=spec))
    with context.installation.db.read() as c:
        task = tasks.get(c, taken["id"])
    assert task is not None and task.timeout_ms == 60_000


def _json(answer: Any) -> dict[str, Any]:
    assert answer.status_code in (200, 201), answer.text
    data: dict[str, Any] = answer.json
    return data


def test_a_waiting_task_and_its_job_say_that_no_worker_serves_the_queue(
    client: FlaskClient, context: ApiContext
) -> None:
    live_node(context.installation.db, queues=("default", "extra", "!own"))
    served = _json(client.post("/tasks", data=HELLO, content_type="text/yaml"))
    lost = _json(client.post("/tasks", data=HELLO + "queue: gpuu\n", content_type="text/yaml"))
    message = "no worker serves the queue gpuu (served are default, extra); start one: celery -A engine worker -Q gpuu"
    waiting = {"code": "unserved", "message": message}
    assert _json(client.get(f"/tasks/{lost['id']}"))["waiting"] == waiting
    assert "waiting" not in _json(client.get(f"/tasks/{served['id']}"))
    reasons = {job["id"]: job.get("waiting") for job in _json(client.get("/jobs"))["items"]}
    assert reasons == {lost["jobId"]: waiting, served["jobId"]: None}
    assert client.put(f"/tasks/{lost['id']}/cancel").status_code == 200
    assert "waiting" not in _json(client.get(f"/tasks/{lost['id']}"))


def test_a_waiting_task_gives_the_reason_of_a_held_node(client: FlaskClient, context: ApiContext) -> None:
    node = live_node(context.installation.db)
    hold(context.installation, Caller("node", node), HoldKind.RUNTIME, "no bridge")
    task = _json(client.post("/tasks", data=HELLO, content_type="text/yaml"))
    message = f"no worker serves the queue default now: {_json(client.get('/nodes'))[0]['name']} is held (no bridge)"
    assert _json(client.get(f"/tasks/{task['id']}"))["waiting"] == {"code": "held", "message": message}
