"""Submissions a second, beside a bare Flask view that inserts one row under the same server."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.containers import ONE
from tests.bench.figures import OURS, Row, take_turns, worst
from tests.bench.ground import Caller, Ground
from tests.support.api_server import running_api
from tests.support.databases import free_port
from tests.support.waiting import wait_until

_CLIENTS = 8
_POSTS = 400


def posts(ground: Ground) -> Row:
    """Measure submissions a second to one API process without a worker."""
    row = Row("posts", f"submissions a second, {_CLIENTS} clients, one process", "/s", "bare Flask view")
    slow: list[float] = []
    with ground.fleet("posts") as fleet, running_api(fleet.settings) as api:
        # Only the API's own process may send.
        fleet.flusher.stop()
        with _bare_view(ground.directory / "posts") as url:
            take_turns(
                row,
                {OURS: lambda: _rate(api.url, slow), "bare Flask view": lambda: _rate(url, [])},
                ground.n,
            )
    row.notes.append(f"one submission, p95: {worst(slow, is_rate=False):.0f} ms")
    return row


def _rate(url: str, took: list[float]) -> float:
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
        for each in pool.map(lambda _: _client(url), range(_CLIENTS)):
            took.extend(each)
    return _POSTS / (time.perf_counter() - began)


def _client(url: str) -> list[float]:
    caller, took = Caller(url), []
    for _ in range(_POSTS // _CLIENTS):
        began = time.perf_counter()
        caller.post(ONE)
        took.append((time.perf_counter() - began) * 1000)
    return took


@contextmanager
def _bare_view(home: Path) -> Iterator[str]:
    port = free_port()
    words = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "256"]
    words += ["--workers", "1", "--bind", f"127.0.0.1:{port}", "--keep-alive", "15", "--no-control-socket"]
    with open(home / "bare.log", "wb") as log:
        process = subprocess.Popen(
            [*words, "tests.bench.bare_view:app"],
            env={**os.environ, "BENCH_DATABASE": str(home / "bare.db")},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), 20)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return bool(Caller(url).post(ONE))
    except OSError:
        return False
