"""Bad requests: status and problem of every refusal; nothing stored, no traceback, a quick answer."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from engine.settings import Settings
from engine.store.database import Database
from tests.integration.api.conftest import an_app
from tests.support.task_rows import count

YAML = "text/yaml"
TASK = "name: x\nimage: busybox:1.36\n"


@dataclass(frozen=True)
class Bad:
    """A request that is refused with this status, and this word in the detail."""

    title: str
    status: int
    word: str
    path: str = "/task"
    method: str = "POST"
    body: str | bytes = TASK
    content_type: str | None = YAML
    headers: dict[str, str] = field(default_factory=dict)


BODIES = [
    Bad("empty body", 400, "--data-binary @file", body=""),
    Bad(
        "empty body, form type",
        400,
        "--data-binary @file",
        body="",
        content_type="application/x-www-form-urlencoded",
    ),
    Bad("empty body, no type", 400, "--data-binary @file", body="", content_type=None),
    Bad("only spaces", 400, "empty", body="  \n "),
    Bad(
        "form type, as curl -d says",
        415,
        "Content-Type: text/yaml",
        content_type="application/x-www-form-urlencoded",
    ),
    Bad("multipart", 415, "Content-Type: text/yaml", content_type="multipart/form-data; boundary=x"),
    Bad("plain text", 415, "Content-Type: text/yaml", content_type="text/plain"),
    Bad("html", 415, "Content-Type 'text/html' is not supported", content_type="text/html"),
    Bad(
        "no type",
        415,
        "Content-Type header is missing: add curl's -H 'Content-Type: text/yaml'",
        content_type=None,
    ),
    Bad("nonsense type", 415, "Content-Type: text/yaml", content_type=";;;"),
    Bad("type that begins like ours", 415, "Content-Type: text/yaml", content_type="text/yamlish"),
    Bad("utf-16", 415, "UTF-8", content_type="text/yaml; charset=utf-16"),
    Bad("latin-1", 415, "UTF-8", content_type="application/json; charset=iso-8859-1"),
    Bad(
        "gzip",
        415,
        "Content-Encoding 'gzip' is not supported: send the body uncompressed",
        headers={"Content-Encoding": "gzip"},
    ),
    Bad("too large by one byte", 413, "FERRYMAN_BODY_BYTES", body="#" * ((1 << 20) + 1)),
    Bad("YAML sent as JSON", 400, "", content_type="application/json"),
    Bad("no YAML", 400, "", body="name: [x"),
    Bad("no UTF-8", 400, "UTF-8", body=b"name: \xff\n"),
    Bad("NUL", 400, "U+0000", body="name: \x00\n"),
    Bad("brackets without end", 400, "", body="[" * 100_000),
    Bad("brackets without end in JSON", 400, "", body="[" * 200_000, content_type="application/json"),
    Bad("number of 5,000 digits", 422, "", body="name: x\nimage: y\npriority: " + "9" * 5000),
    Bad("two documents", 400, "", body=TASK + "---\n" + TASK),
    Bad("null", 422, "", body="null"),
    Bad("a list", 422, "", body="- x"),
    Bad("no image", 422, "missing", body="name: x\n"),
    Bad("unknown field", 422, "unknown field", body=TASK + "imagee: x\n"),
    Bad("bind of the host", 422, "", body=TASK + "mounts: [{type: bind, source: /etc, target: /x}]\n"),
]
GUARDS = [
    Bad("foreign host", 400, "FERRYMAN_ALLOWED_HOSTS", headers={"Host": "evil.example"}),
    Bad("foreign host, reading", 400, "host name", "/jobs", "GET", headers={"Host": "evil.example:3000"}),
    Bad("host that begins like ours", 400, "host name", headers={"Host": "localhost.evil.example"}),
    Bad("host with a user", 400, "host name", headers={"Host": "localhost@evil.example"}),
    Bad("two hosts", 400, "host name", headers={"Host": "localhost,evil.example"}),
    Bad("empty host", 400, "host name", headers={"Host": ""}),
    Bad("foreign origin", 403, "http://evil.example", headers={"Origin": "http://evil.example"}),
    Bad(
        "origin of another port",
        403,
        "cross-origin request from 'http://localhost:8080' refused",
        headers={"Origin": "http://localhost:8080"},
    ),
    Bad("origin null", 403, "null", headers={"Origin": "null"}),
    Bad(
        "cross-site by Sec-Fetch-Site",
        403,
        "cross-origin request refused",
        headers={"Sec-Fetch-Site": "cross-site"},
    ),
    Bad(
        "foreign origin cancels",
        403,
        "evil",
        "/jobs/abcd/cancel",
        "PUT",
        headers={"Origin": "http://evil.example"},
    ),
    Bad("foreign origin, path unknown", 403, "evil", "/nowhere", headers={"Origin": "http://evil.example"}),
]
IDS = [
    Bad(f"id {id!r} at {path}", 404, "there is no", path.format(id=id), method)
    for id in ("zzzz", "abcd", "f" * 32, "f" * 33, "'%20OR%201=1--", "%00", "%C3%BC", "1;DROP", "..%5Cx", "*")
    for path, method in (
        ("/task/{id}", "GET"), ("/tasks/{id}", "GET"), ("/tasks/{id}/log", "GET"), ("/tasks/{id}/cancel", "PUT"),
        ("/jobs/{id}", "GET"), ("/jobs/{id}/cancel", "PUT"), ("/events?task={id}", "GET"), ("/events?job={id}", "GET"),
    )
]  # fmt: skip
QUERIES = [
    Bad(f"{path}?{query}", 400, word, f"{path}?{query}", "GET")
    for path, query, word in [
        ("/jobs", "page=0", "page"),
        ("/jobs", "page=-1", "page"),
        ("/jobs", "page=1000000000000", "page"),
        ("/jobs", "page=x", "page"),
        ("/jobs", "page=1.5", "page"),
        ("/jobs", "size=0", "size"),
        ("/jobs", "size=1000000", "size"),
        ("/jobs", "q=%00", "q"),
        ("/jobs", "q=" + "x" * 201, "q"),
        ("/jobs", "q=a+b+c+d+e+f+g+h+i+j+k", "words"),
        ("/jobs", "state=NOPE", "state"),
        ("/jobs", "sort=name", "sort"),
        ("/events", "tasks=abcd", "tasks"),
        ("/events", "task=abcd&job=abcd", "one of them"),
        ("/tasks/abcd/log", "tail=-1", "tail"),
        ("/tasks/abcd/log", "tail=99999999", "tail"),
        ("/tasks/abcd/log", "follow=perhaps", "follow"),
        ("/tasks/abcd/log", "page=0", "page"),
    ]
]
CURSORS = [
    Bad(f"Last-Event-ID {cursor[:12]!r}", 400, "cursor", "/events", "GET", headers={"Last-Event-ID": cursor})
    for cursor in ("x", "-1", "1.5", "1-2-3", "9" * 40, "' OR 1=1--", "1 2")
]
METHODS = [
    Bad("nothing there", 404, "/openapi.json", "/nowhere", "GET"),
    Bad("up the tree", 404, "does not exist", "/task/../../etc/passwd", "GET"),
    Bad("no UTF-8 in the path", 404, "does not exist", "/%ff", "GET"),
    Bad("DELETE", 405, "GET", "/jobs", "DELETE"),
    Bad("TRACE", 405, "POST", "/task", "TRACE"),
    Bad("GET where POST is expected", 405, "POST", "/task", "GET"),
    Bad("method override is ignored", 405, "GET", "/jobs", headers={"X-HTTP-Method-Override": "GET"}),
]


@pytest.fixture(scope="module")
def app(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Return one app for all rows, over SQLite only: refused requests never reach the store."""
    data = tmp_path_factory.mktemp("refusing")
    url = f"sqlite:///{shutil.copy(migrated_sqlite, data / 'ferryman.db')}"
    app = an_app(Settings.from_env({}, data_dir=str(data), database_url=url))
    yield app
    app.extensions["ferryman"].feed.end()
    app.extensions["ferryman"].installation.db.close()


@pytest.fixture(scope="module")
def db(app: Flask) -> Database:
    """Return the app's database."""
    db: Database = app.extensions["ferryman"].installation.db
    return db


def _row_counts(db: Database) -> list[int]:
    return [count(db, table) for table in ("jobs", "tasks", "events")]


@pytest.mark.parametrize(
    "bad", BODIES + GUARDS + IDS + QUERIES + CURSORS + METHODS, ids=lambda bad: bad.title
)
def test_a_bad_request_is_refused_in_words_and_leaves_nothing(
    bad: Bad, client: FlaskClient, db: Database
) -> None:
    headers = {**bad.headers} | (
        {"Content-Type": bad.content_type} if bad.content_type and bad.method == "POST" else {}
    )
    body = bad.body.encode() if isinstance(bad.body, str) else bad.body
    before, began = _row_counts(db), time.monotonic()
    answer = client.open(
        bad.path, method=bad.method, headers=headers, data=body if bad.method == "POST" else None
    )
    assert answer.status_code == bad.status, answer.text
    assert time.monotonic() - began < 5
    problem = _problem(answer)
    assert bad.word in problem["detail"]
    assert all({"path", "message", "hint"} <= set(error) for error in problem.get("errors", []))
    assert _row_counts(db) == before


def test_every_problem_is_reported_with_its_line_and_column(client: FlaskClient) -> None:
    text = 'name: ""\nimagee: x\ntimeout: 5 parsecs\n'
    answer = client.post("/task", data=text, content_type=YAML)
    assert answer.status_code == 422
    places = {error["path"]: (error["line"], error["column"]) for error in _problem(answer)["errors"]}
    assert {"name": (1, 1), "imagee": (2, 1), "timeout": (3, 1)}.items() <= places.items()


def test_a_body_that_grows_without_a_length_ends_at_the_bound(client: FlaskClient) -> None:
    endless = io.BytesIO(b"#" * (3 << 20))
    answer = client.post(
        "/task", input_stream=endless, content_type=YAML, environ_overrides={"wsgi.input_terminated": True}
    )
    assert answer.status_code == 413
    assert endless.tell() < 2 << 20


def test_a_defect_shows_no_traceback_and_no_secret(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("postgresql://user:secret@host/db")

    monkeypatch.setattr("api.jobs.jobs.page", explode)
    answer = client.get("/jobs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    _problem(answer)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:3000"]
)
def test_every_name_of_this_host_is_allowed(client: FlaskClient, host: str) -> None:
    assert client.get("/jobs", headers={"Host": host}).status_code == 200


def test_a_page_of_our_own_origin_may_submit(client: FlaskClient) -> None:
    headers = {"Origin": "http://localhost:3000", "Host": "localhost:3000", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/task", data=TASK, content_type=YAML, headers=headers).status_code == 201


@pytest.mark.parametrize("path", ["/jobs", "/events", "/health", "/nodes"])
def test_head_has_the_headers_and_no_body(client: FlaskClient, path: str) -> None:
    answer = client.head(path)
    assert answer.status_code == 200
    assert answer.data == b""


def test_options_lists_the_methods_of_a_path(client: FlaskClient) -> None:
    assert set(client.options("/task").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("path", ["/jobs", "/nowhere", "/openapi.json"])
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def _problem(answer: Any) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    problem: dict[str, Any] = answer.get_json(force=True)
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == answer.status_code
    assert "Traceback" not in answer.text
    return problem


def test_no_log_line_shows_the_content_of_a_task(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The database refuses this row, and its error holds all values.
    ids = iter(["a" * 32, None])
    monkeypatch.setattr("engine.lifecycle.submit.uuid4", lambda: SimpleNamespace(hex=next(ids)))
    answer = client.post("/task", data=TASK + "env: {KEY: hunter2}\n", content_type=YAML)
    assert answer.status_code == 500
    assert "IntegrityError" in caplog.text
    assert "hunter2" not in caplog.text + answer.text
