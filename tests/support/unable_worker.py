"""The plain worker with a planted fault: it can begin no link, for a reason that nobody expected."""

from __future__ import annotations

import sys

from celery.__main__ import main

from engine.runtime.base import Control, LogSink, Order, Prepared
from engine.runtime.docker.runtime import DockerRuntime


def fails(runtime: DockerRuntime, order: Order, sink: LogSink, control: Control) -> Prepared:
    """Raise an error that no part of the worker knows."""
    raise ValueError("planted")


if __name__ == "__main__":
    DockerRuntime.prepare = fails  # type: ignore[method-assign]
    sys.argv = ["celery", "-A", "engine", "worker", *sys.argv[1:]]
    main()
