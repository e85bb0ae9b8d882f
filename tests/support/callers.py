"""Callers that tests give to verbs."""

from __future__ import annotations

from engine.model.records import Caller

#: For every verb that does not ask which node calls.
TESTER = Caller("user", "tester")


def by(node_id: str) -> Caller:
    """Return a node as the caller."""
    return Caller("node", node_id)
