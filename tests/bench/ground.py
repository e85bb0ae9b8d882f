"""Servers under the rows: one Redis, one database, and Ferryman on them as people run it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from engine.settings import OPTIONS
from engine.store.tables import tasks
from tests.support.api_server import running_api
from tests.support.fleet import Fleet, running_fleet
from tests.support.redis_server import RedisServer

#: The default leases, not the short ones of the tests.
USUAL = {
    name: OPTIONS[name].default
    for name in ("lease_seconds", "grace_min_seconds", "restart_grace_seconds", "resend_seconds")
}
IMAGE = "busybox:1.36"
#: Slots of the worker of a row.
SLOTS = 8
#: Servers close a connection that was idle for longer.
_KEPT_SECONDS = 5.0
_LOOK_SECONDS = 0.03
_MOST_LOOK_SECONDS = 0.5
_STATES = sa.select(tasks.c.state, sa.func.count().label("n")).group_by(tasks.c.state)


@dataclass
class Ground:
    """The servers of one benchmark. The owner of `directory` empties it."""

    directory: Path
    redis: RedisServer
    new_database: str
    n: int
    #: FERRYMAN_SANDBOX of the worker: pod, slot or none.
    sandbox: str = "pod"
    _made: int = field(default=0)

    def database(self, name: str) -> str:
        """Return the URL of a new database for a row."""
        if not self.new_database:
            return f"sqlite:///{self.directory}/{name}.db"
        return self.new_database

    @contextmanager
    def fleet(self, name: str) -> Iterator[Fleet]:
        """Start a fleet with the default leases and no worker yet."""
        home = self.directory / name
        home.mkdir()
        with running_fleet(home, self.database(name), self.redis, sandbox=self.sandbox, **USUAL) as fleet:
            yield fleet

    @contextmanager
    def served(self, name: str, slots: int, module: str = "") -> Iterator[tuple[Fleet, Caller]]:
        """Start a fleet with its API and one worker with this many slots."""
        with ExitStack() as stack:
            fleet = stack.enter_context(self.fleet(name))
            api = stack.enter_context(running_api(fleet.settings))
            fleet.worker("-Q", "default", "-c", str(slots), "-l", "WARNING", module=module)
            yield fleet, Caller(api.url)


class Caller:
    """A client of the API over plain HTTP, with one connection for requests."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._place = (str(place.hostname), int(place.port or 80))
        self._connection = http.client.HTTPConnection(*self._place, timeout=60)
        self._asked_at = time.monotonic()

    def post(self, text: bytes) -> str:
        """POST a task; return its id."""
        if time.monotonic() - self._asked_at > _KEPT_SECONDS:
            self._connection.close()
        self._asked_at = time.monotonic()
        self._connection.request("POST", "/task", text, {"Content-Type": "text/yaml"})
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 201, body
        return str(json.loads(body)["id"])

    def to_end(self, text: bytes) -> float:
        """Return the milliseconds from before the POST to the end event of its stream."""
        began = time.perf_counter()
        task_id = self.post(text)
        connection = http.client.HTTPConnection(*self._place, timeout=120)
        connection.request("GET", f"/events?task={task_id}")
        answer = connection.getresponse()
        while (line := answer.readline()) and not line.startswith(b"event: end"):
            pass
        took = (time.perf_counter() - began) * 1000
        state = json.loads(answer.readline().partition(b":")[2])["state"]
        connection.close()
        assert state == "COMPLETED", state
        return took


def await_ends(fleet: Fleet, count: int, seconds: float = 300) -> None:
    """Wait until this many tasks of the installation have COMPLETED; look seldom, so as not to disturb them."""
    began, first = time.monotonic(), -1
    while True:
        with fleet.db.read() as c:
            found: dict[str, int] = {str(row.state): int(row.n) for row in c.execute(_STATES)}
        assert not found.get("FAILED"), "a task of the bench failed"
        done, now = found.get("COMPLETED", 0), time.monotonic()
        if done >= count:
            return
        assert now < began + seconds, f"not {count} tasks ended within {seconds} s"
        first = done if first < 0 else first
        # Each look costs a millisecond or two of the measured time, so most looks are made near the end.
        left = (count - done) * (now - began) / (done - first) if done > first else 0.0
        time.sleep(min(max(left / 4, _LOOK_SECONDS), _MOST_LOOK_SECONDS))


def await_empty(fleet: Fleet, seconds: float = 120) -> None:
    """Wait until the daemon has nothing of the installation but the sandboxes that a worker keeps ready."""
    runtime, end = fleet.runtime(), time.monotonic() + seconds
    kept = {"none": 0, "slot": SLOTS}.get(
        fleet.settings.runtime.sandbox, fleet.settings.runtime.warm_sandboxes
    )
    while True:
        kinds = [thing.kind for thing in runtime.list()]
        sandboxes = kinds.count("sandbox")
        if len(kinds) == sandboxes <= kept:
            return
        assert time.monotonic() < end, "containers are not removed"
        time.sleep(0.05)
