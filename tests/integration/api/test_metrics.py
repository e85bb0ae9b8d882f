"""GET /metrics: what waits and runs, which nodes beat, and how long each step took."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.context import ApiContext
from engine.lifecycle.finish import finish_link
from engine.runtime.base import Cause, Outcome
from tests.support.world import World

TIMINGS = {"waiting": 3, "creating": 40, "running": 2100}


@pytest.fixture
def world(context: ApiContext) -> World:
    """The verbs over the app's database."""
    return World(context.db, context.settings, context.installation)


def figures(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """(name, label values …) -> value, as Prometheus reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_tasks_and_nodes_are_counted_as_they_stand(client: FlaskClient, world: World) -> None:
    world.submitted()
    world.confirmed()
    found = figures(client)
    assert found["ferryman_tasks", "PENDING"] == 1
    assert found["ferryman_tasks", "RUNNING"] == 1
    assert found["ferryman_nodes", "LIVE"] == 1


def test_each_ended_attempts_steps_are_counted_once(client: FlaskClient, world: World) -> None:
    figures(client)
    mine = world.confirmed()
    assert figures(client)["ferryman_step_seconds_count", "running"] == 0
    assert finish_link(world.installation, mine, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    for _ in range(2):
        found = figures(client)
        assert found["ferryman_attempts_total", "COMPLETED"] == 1
        assert found["ferryman_step_seconds_count", "running"] == 1
        assert found["ferryman_step_seconds_sum", "running"] == pytest.approx(2.1)
        assert found["ferryman_step_seconds_bucket", "0.05", "creating"] == 1
        assert found["ferryman_step_seconds_bucket", "0.025", "creating"] == 0
        assert found["ferryman_step_seconds_count", "pulling"] == 0, "a step that was not taken"
    world.submitted()
    assert figures(client)["ferryman_step_seconds_count", "running"] == 1


def test_what_ended_before_the_first_question_is_not_counted(client: FlaskClient, world: World) -> None:
    mine = world.confirmed()
    assert finish_link(world.installation, mine, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    assert figures(client)["ferryman_step_seconds_count", "running"] == 0


def test_a_tasks_answer_tells_its_steps(client: FlaskClient, world: World) -> None:
    mine = world.confirmed()
    assert finish_link(world.installation, mine, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    answer = client.get(f"/tasks/{mine.token.task_id}").json
    assert answer is not None and answer["links"][0]["timings"] == TIMINGS
