"""Nodes: read with their tasks, and drained by id, name or beginning; repeated drains and refusals."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.context import ApiContext
from engine.lifecycle import nodes
from engine.lifecycle.cancel import cancel
from tests.support.callers import TESTER, by
from tests.support.task_rows import live_node, running


def _node_name(client: FlaskClient) -> str:
    return str((client.get("/nodes").json or [])[0]["name"])


@pytest.mark.parametrize("by", ["id", "name", "beginning"])
def test_a_node_is_drained_by_id_name_or_beginning_and_a_second_time_changes_nothing(
    client: FlaskClient, context: ApiContext, by: str
) -> None:
    live_node(context.installation.db)
    name = {"id": "n1", "name": _node_name(client), "beginning": "n"}[by]
    for _ in range(2):
        answer = client.put(f"/nodes/{name}/drain")
        assert answer.status_code == 200, answer.text
        assert answer.json["id"] == "n1"  # type: ignore[index]
        assert answer.json["state"] == "LEAVING"  # type: ignore[index]


def test_draining_an_unknown_or_ended_node_is_refused_with_a_reason(
    client: FlaskClient, context: ApiContext
) -> None:
    unknown = client.put("/nodes/nowhere/drain")
    assert unknown.status_code == 404
    assert "there is no node 'nowhere'" in unknown.text
    live_node(context.installation.db)
    assert nodes.drain(context.installation, TESTER, "n1")
    assert nodes.leave(context.installation, by("n1"))
    gone = client.put("/nodes/n1/drain")
    assert gone.status_code == 409
    assert "is already LEFT" in gone.text


def test_all_tasks_of_a_node_are_counted_and_the_oldest_are_listed(
    client: FlaskClient, context: ApiContext
) -> None:
    live_node(context.installation.db)
    live_node(context.installation.db, "m2")
    first, *_, last = [running(context.installation.db, f"task {i}", "n1") for i in range(103)]
    running(context.installation.db, "elsewhere", "m2")
    answer = client.get("/nodes/w@n1").json or {}
    assert answer["state"] == "LIVE" and answer["running"] == 103
    assert len(answer["tasks"]) == 100 and answer["tasks"][0] == {"id": first.id, "name": "task 0"}
    cancel(context.installation, TESTER, last.id)
    assert (client.get("/nodes/n").json or {})["running"] == 102
    assert [task["name"] for task in (client.get("/nodes/m2").json or {})["tasks"]] == ["elsewhere"]


def test_an_idle_node_has_no_tasks_and_an_unknown_one_is_a_404(
    client: FlaskClient, context: ApiContext
) -> None:
    live_node(context.installation.db)
    idle = client.get("/nodes/n1").json or {}
    assert (idle["running"], idle["tasks"]) == (0, [])
    unknown = client.get("/nodes/nowhere")
    assert unknown.status_code == 404 and "there is no node 'nowhere'" in unknown.text
