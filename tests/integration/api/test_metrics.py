"""GET /metrics: waiting and running tasks, nodes, duration of each step."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api.context import ApiContext
from engine.lifecycle.finish import finish_link
from engine.runtime.base import Cause, Outcome
from tests.support.callers import TESTER
from tests.support.verb_world import World

TIMINGS = {"waiting": 3, "creating": 40, "running": 2100}


@pytest.fixture
def world(context: ApiContext) -> World:
    """Return the verbs over the app's database."""
    return World(context.installation.db, context.installation.settings, context.installation.id)


def samples(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Return the samples as Prometheus reads them: (name, label values …) -> value."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.content_type.startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_tasks_and_nodes_are_counted_by_state(client: FlaskClient, world: World) -> None:
    world.submitted()
    world.confirmed()
    metrics = samples(client)
    assert metrics["ferryman_tasks", "PENDING"] == 1
    assert metrics["ferryman_tasks", "RUNNING"] == 1
    assert metrics["ferryman_nodes", "LIVE"] == 1


def test_the_steps_of_an_ended_attempt_are_counted_once(client: FlaskClient, world: World) -> None:
    samples(client)
    link = world.confirmed()
    assert samples(client)["ferryman_step_seconds_count", "running"] == 0
    assert finish_link(world.installation, TESTER, link, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    for _ in range(2):
        metrics = samples(client)
        assert metrics["ferryman_attempts_total", "COMPLETED"] == 1
        assert metrics["ferryman_step_seconds_count", "running"] == 1
        assert metrics["ferryman_step_seconds_sum", "running"] == pytest.approx(2.1)
        assert metrics["ferryman_step_seconds_bucket", "0.05", "creating"] == 1
        assert metrics["ferryman_step_seconds_bucket", "0.025", "creating"] == 0
        assert metrics["ferryman_step_seconds_count", "pulling"] == 0, "a step that did not happen"
    world.submitted()
    assert samples(client)["ferryman_step_seconds_count", "running"] == 1


def test_attempts_that_ended_before_the_first_request_are_not_counted(
    client: FlaskClient, world: World
) -> None:
    link = world.confirmed()
    assert finish_link(world.installation, TESTER, link, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    assert samples(client)["ferryman_step_seconds_count", "running"] == 0


def test_a_tasks_answer_has_the_timings_of_its_links(client: FlaskClient, world: World) -> None:
    link = world.confirmed()
    assert finish_link(world.installation, TESTER, link, "c0", Outcome(0, Cause.EXITED, timings=TIMINGS))
    answer = client.get(f"/tasks/{link.token.task_id}").json
    assert answer is not None and answer["links"][0]["timings"] == TIMINGS
