"""GET /ready: queues with waiting tasks that no live node serves."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.context import ApiContext
from engine.model.states import NodeState
from engine.store import nodes
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
    assert ready == {"status": "UNSERVED", "unserved": ["also", "left", "never", "shared"], "nodes": 1}


def test_ready_does_not_list_a_queue_whose_tasks_all_run(client: FlaskClient, context: ApiContext) -> None:
    task = running(context.installation.db)
    with context.installation.db.begin() as c:
        assert nodes.move(c, str(task.node), NodeState.LAPSED, [NodeState.LIVE])
    assert client.get("/ready").json == {"status": "READY", "unserved": [], "nodes": 0}
