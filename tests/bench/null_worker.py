"""Worker with a runtime that runs nothing, to measure the cost of Ferryman itself.

Start it by `python -m tests.bench.null_worker -Q default -c 8`. Only the bench uses this runtime.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from celery.__main__ import main

from engine.runtime.base import Cause, Control, LogSink, Order, Outcome, Prepared, PreparedState, Resource
from engine.runtime.docker import runtime


class NullSandboxes:
    """`engine.runtime.base.Sandboxes` that cannot be joined: each link runs without a sandbox."""

    def make(self, name: str, node_id: str) -> None:
        """See engine.runtime.base."""

    def why_not_joined(self, name: str, node_id: str) -> str | None:
        """See engine.runtime.base."""
        return "the null runtime has no network"

    def remove(self, name: str) -> bool:
        """See engine.runtime.base."""
        return True

    def is_idle(self, seconds: float) -> bool:
        """See engine.runtime.base."""
        return True


class NullRuntime:
    """`engine.runtime.base.Runtime` whose links succeed at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.sandboxes = NullSandboxes()

    def describe(self) -> str:
        """See engine.runtime.base."""
        return "nothing: the bench's null runtime"

    def why_refused(self, order: Order) -> str:
        """See engine.runtime.base."""
        return ""

    def prepare(self, order: Order, sink: LogSink, control: Control) -> Prepared:
        """See engine.runtime.base."""
        return Prepared(order, uuid.uuid4().hex * 2, PreparedState.CREATED)

    def go(self, prepared: Prepared, sink: LogSink, control: Control) -> Outcome:
        """See engine.runtime.base."""
        return Outcome(0, Cause.EXITED, result="" if prepared.order.kind == "main" else None)

    def discard(self, prepared: Prepared) -> None:
        """See engine.runtime.base."""

    def list(self, *, with_directories: bool = False) -> Sequence[Resource]:
        """See engine.runtime.base."""
        return ()

    def remove(self, things: Iterable[Resource]) -> int:
        """See engine.runtime.base."""
        return 0

    def remove_orphans(self) -> None:
        """See engine.runtime.base."""


if __name__ == "__main__":
    runtime.DockerRuntime = NullRuntime  # type: ignore[misc, assignment]
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
