"""Nodes: the worker processes."""

from __future__ import annotations

from api import answers
from api.house import House, here
from engine.store import nodes


def list_nodes() -> list[answers.Json]:
    """The workers: those that beat first, then those that ended last."""
    return find(here())


def find(house: House) -> list[answers.Json]:
    """The answers for the newest 200 nodes."""
    with house.db.read() as c:
        return [answers.node(node) for node in nodes.recent(c)]
