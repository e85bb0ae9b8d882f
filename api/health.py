"""Is the process up, and will work that is submitted now be done? And the figures for Prometheus."""

from __future__ import annotations

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from api import queues
from api.answers import Json
from api.context import get_context
from engine import __version__
from engine.model.states import NodeState
from engine.store import nodes


def health() -> Json:
    """The process answers. It asks nobody else, so it says nothing about the database."""
    return {"status": "UP", "version": __version__}


def status() -> Json:
    """The first version's word for health."""
    return {"status": "OK"}


def ready() -> Json:
    """The database answers (else 503), and which queues hold work that no live node takes."""
    context = get_context()
    unserved = [
        queue["name"] for queue in queues.find(context) if queue["waiting"] and not queue["subscribers"]
    ]
    with context.db.read() as c:
        live = sum(node.state is NodeState.LIVE for node in nodes.beating(c))
    return {"status": "UNSERVED" if unserved else "READY", "unserved": unserved, "nodes": live}


def get_metrics() -> Response:
    """How many tasks wait and run, which nodes beat, and how long each step of a link took."""
    return Response(get_context().metrics.render(), content_type=CONTENT_TYPE_LATEST)
