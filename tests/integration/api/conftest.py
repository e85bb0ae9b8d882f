"""Fixtures: the app over a database of each kind, its context and a client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.context import ApiContext
from engine.settings import Settings

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello world]\n"


def an_app(settings: Settings) -> Flask:
    """Create the app without the flusher and the reconciler; a test client has no connection, so without a token."""
    return create_app(settings.replace(no_token=True), background=False)


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """Return the app, without the flusher and the reconciler."""
    app = an_app(settings)
    yield app
    context: ApiContext = app.extensions["ferryman"]
    context.feed.end()
    context.installation.db.close()


@pytest.fixture
def context(app: Flask) -> ApiContext:
    """Return the context that the app's views share."""
    context: ApiContext = app.extensions["ferryman"]
    return context


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a client of the app."""
    return app.test_client()


@pytest.fixture
def task_id(client: FlaskClient) -> str:
    """Return the id of a submitted task."""
    answer = client.post("/task", data=HELLO, content_type="text/yaml")
    assert answer.status_code == 201, answer.text
    return str(answer.json["id"])  # type: ignore[index]
