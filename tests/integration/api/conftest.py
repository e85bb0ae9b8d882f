"""The app over a database of each kind, with a client and readers of streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.house import House
from engine.settings import Settings

HELLO = "name: say hello\nimage: busybox:1.36\ncmd: [echo, -n, hello world]\n"


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The app, without the threads that send and repair."""
    made = create_app(settings, background=False)
    yield made
    house: House = made.extensions["ferryman"]
    house.feed.end()
    house.db.close()


@pytest.fixture
def house(app: Flask) -> House:
    """What the app's views share."""
    found: House = app.extensions["ferryman"]
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
