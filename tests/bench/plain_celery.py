"""Anchor of no-ops: a plain Celery app, as its first steps show it, with the results where BENCH_RESULTS says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery, chain
from celery.result import AsyncResult

SLOTS = 8


def app_of(broker: str, results: str) -> Celery:
    """Return an app with a broker, results, and its own prefix in the shared Redis."""
    found = Celery("plain", broker=broker, backend=results, set_as_current=False)
    name = "plain-sql" if results.startswith("db+") else "plain-redis"
    found.conf.broker_transport_options = {"global_keyprefix": f"{name}:"}
    found.conf.result_backend_transport_options = {"global_keyprefix": f"{name}:"}
    found.conf.task_default_queue = name
    return found


app = app_of(os.environ.get("BENCH_BROKER", "memory://"), os.environ.get("BENCH_RESULTS", "cache+memory://"))


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


class PlainWorker:
    """One plain worker and its client."""

    def __init__(self, broker: str, results: str) -> None:
        self._app = app_of(broker, results)
        self._signature = self._app.signature("noop", immutable=True)

    def many(self, count: int) -> float:
        """Return tasks a second, from the first sent to the last result read."""
        began = time.perf_counter()
        sent: list[AsyncResult] = [self._signature.apply_async() for _ in range(count)]
        for one in sent:
            one.get(timeout=120, interval=0.02)
        return count / (time.perf_counter() - began)

    def chain(self, length: int) -> float:
        """Return milliseconds for a step of one chain."""
        began = time.perf_counter()
        links = chain(*(self._signature.clone() for _ in range(length)), app=self._app)
        links.apply_async().get(timeout=120, interval=0.005)
        return (time.perf_counter() - began) * 1000 / length


@contextmanager
def plain_worker(broker: str, results: str, log: Path) -> Iterator[PlainWorker]:
    """Start a worker as `celery worker -P threads -c 8`: the pool and the slots of ours."""
    words = [sys.executable, "-m", "celery", "-A", "tests.bench.plain_celery", "worker"]
    environment = {**os.environ, "BENCH_BROKER": broker, "BENCH_RESULTS": results}
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*words, "-P", "threads", "-c", str(SLOTS), "-l", "WARNING", "-n", f"{log.stem}@plain"],
            env=environment,
            stdout=out,
            stderr=out,
        )
    try:
        found = PlainWorker(broker, results)
        found.many(1)
        yield found
    finally:
        process.terminate()
        process.wait(30)
