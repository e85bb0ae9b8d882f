"""The app over a database of each kind, with a client and readers of streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.context import ApiContext
from engine.settings import Settings

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello world]\n"


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The app, without the threads that send and repair."""
    made = create_app(settings, background=False)
    yield made
    context: ApiContext = made.extensions["ferryman"]
    context.feed.end()
    context.db.close()


@pytest.fixture
def context(app: Flask) -> ApiContext:
    """What the app's views share."""
    found: ApiContext = app.extensions["ferryman"]
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Asks the app."""
    return app.test_client()


@pytest.fixture
def task_id(client: FlaskClient) -> str:
    """A submitted task."""
    answer = client.post("/task", data=HELLO, content_type="text/yaml")
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])  # type: ignore[index]
