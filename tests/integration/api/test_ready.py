"""GET /ready: queues with waiting tasks that no node serves, and nodes that are held."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.context import ApiContext
from engine.lifecycle import nodes as node_verbs
from engine.model.states import HoldKind, NodeState
from engine.store import nodes
from tests.support.callers import by
from tests.support.task_rows import live_node, running, submitted


@pytest.mark.parametrize("state", [NodeState.LEAVING, NodeState.LAPSED, NodeState.LEFT])
def test_ready_lists_every_queue_with_waiting_tasks_and_no_live_node(
    client: FlaskClient, context: ApiContext, state: NodeState
) -> None:
    live_node(context.installation.db, "n1", ("default", "served"))
    live_node(context.installation.db, "n2", ("left", "shared"))
    live_node(context.installation.db, "n3", ("shared", "idle"))
    for queue in ("served", "left", "shared", "never", "also"):
        submitted(context.installation.db, queue=queue)
    assert (client.get("/ready").json or {})["unserved"] == ["also", "never"]
    for id in ("n2", "n3"):
        with context.installation.db.begin() as c:
            assert nodes.move(c, id, state, [NodeState.LIVE])
    ready = client.get("/ready").json
    assert ready == {
        "status": "UNSERVED",
        "unserved": ["also", "left", "never", "shared"],
        "nodes": 1,
        "held": [],
    }


def test_ready_does_not_list_a_queue_whose_tasks_all_run(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db)
    with context.installation.db.begin() as c:
        assert nodes.move(c, str(task.node), NodeState.LAPSED, [NodeState.LIVE])
    assert client.get("/ready").json == {"status": "READY", "unserved": [], "nodes": 0, "held": []}


def test_a_held_node_serves_no_queue_and_is_shown_with_its_reason(
    client: FlaskClient, context: ApiContext
) -> None:
    live_node(context.installation.db, "n1", ("default",))
    live_node(context.installation.db, "n2", ("default", "other"))
    submitted(context.installation.db)
    assert node_verbs.hold(context.installation, by("n1"), HoldKind.DATA_DIRECTORY, "no space left")
    ready = client.get("/ready").json or {}
    assert (ready["status"], ready["unserved"], ready["nodes"]) == ("HELD", [], 1)
    (held,) = ready["held"]
    assert (held["id"], held["name"]) == ("n1", "w@n1")
    assert [(h["kind"], h["reason"]) for h in held["holds"]] == [("data directory", "no space left")]
    assert held["holds"][0]["since"].endswith("Z")
    served = {queue["name"]: queue["subscribers"] for queue in client.get("/queues").json or []}
    assert served == {"default": 1, "other": 1}
    assert node_verbs.hold(context.installation, by("n2"), HoldKind.BROKER, "no answer")
    assert (client.get("/ready").json or {})["status"] == "UNSERVED"
    shown = {node["id"]: [h["kind"] for h in node["holds"]] for node in client.get("/nodes").json or []}
    assert shown == {"n1": ["data directory"], "n2": ["broker"]}
    metrics = client.get("/metrics").text
    assert 'ferryman_held_nodes{kind="broker"} 1.0' in metrics
    page = client.get("/").text
    assert "Needs attention" in page and "no space left" in page and ">Held" in page


def test_a_node_whose_docker_is_silent_serves_no_queue(client: FlaskClient, context: ApiContext) -> None:
    live_node(context.installation.db)
    submitted(context.installation.db)
    node_verbs.runtime_silent(context.installation, by("n1"))
    ready = client.get("/ready").json
    assert ready == {"status": "UNSERVED", "unserved": ["default"], "nodes": 0, "held": []}
