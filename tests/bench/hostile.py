"""Time of `/health` beside 200 clients of each kind that would keep the API busy."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from urllib.parse import urlsplit

from engine.store.database import Database
from tests.bench.figures import Row
from tests.bench.ground import Ground
from tests.support.api_server import running_api
from tests.support.hostile_clients import KINDS, holding, long_log, seconds_of

_CLIENTS = 200
_PAUSE_SECONDS = 0.1


def hostile(ground: Ground) -> Row:
    """Measure `/health` n times beside each kind; each measurement opens a connection."""
    row = Row("hostile", f"GET /health beside {_CLIENTS} clients of a kind", "ms")
    with ground.fleet("hostile") as fleet:
        fleet.flusher.stop()
        with contextlib.closing(Database(fleet.settings.store)) as db:
            task = long_log(db)
        for name, kind in {"no other clients": None, **KINDS}.items():
            with running_api(fleet.settings) as api, contextlib.ExitStack() as stack:
                if kind is not None:
                    port = urlsplit(api.url).port or 0
                    stack.enter_context(holding(kind, port, _CLIENTS, task))
                for _ in range(ground.n):
                    row.add(name, 1000 * seconds_of(lambda url=api.url: _health(url)))
                    time.sleep(_PAUSE_SECONDS)
    return row


def _health(url: str) -> None:
    with urllib.request.urlopen(f"{url}/health", timeout=120) as answer:
        answer.read()
