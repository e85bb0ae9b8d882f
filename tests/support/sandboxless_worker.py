"""The plain worker with a planted fault: the sandbox that a claim names is never made, as if it were gone at once."""

from __future__ import annotations

import sys

from celery.__main__ import main

from engine.runtime.base import Order
from engine.worker.daemon.sandbox_pool import SandboxPool


def makes_none(networks: SandboxPool, order: Order) -> None:
    """Forget the sandbox that the claim named."""
    with networks._lock:
        networks._to_create.discard(order.sandbox or "")


if __name__ == "__main__":
    SandboxPool.create_reserved = makes_none  # type: ignore[method-assign]
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
