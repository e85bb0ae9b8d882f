"""Health, readiness, and the metrics for Prometheus."""

from __future__ import annotations

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from api import queues
from api.answers import Json
from api.context import get_context
from engine import __version__
from engine.store import nodes


def health() -> Json:
    """Report that the process answers, and its version; the database is not asked."""
    return {"status": "UP", "version": __version__}


def status() -> Json:
    """Report that the process answers, for clients of the first version."""
    return {"status": "OK"}


def ready() -> Json:
    """Report held nodes, and queues with waiting tasks that no node serves; 503 when the database does not answer."""
    context = get_context()
    with context.installation.db.read() as c:
        beating = nodes.beating(c)
        counted = queues.counts(context, c, beating)
    unserved = [queue["name"] for queue in counted if queue["waiting"] and not queue["subscribers"]]
    held = [node for node in beating if node.holds]
    status = "UNSERVED" if unserved else "HELD" if held else "READY"
    serving = sum(node.serves for node in beating)
    return {"status": status, "unserved": unserved, "nodes": serving, "held": held}


def get_metrics() -> Response:
    """Return the metrics for Prometheus: waiting and running tasks, nodes, duration of each step of a link."""
    return Response(get_context().metrics.render(), content_type=CONTENT_TYPE_LATEST)
