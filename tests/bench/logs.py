"""Rows about logs: a long log read and stored, its processor time, and the beat of a node with chatty tasks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from engine.store import logs as log_rows
from engine.store.tables import nodes
from tests.bench.figures import OURS, Row, take_turns
from tests.bench.ground import IMAGE, Ground
from tests.support.docker_daemon import ROOT, require_docker
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

MB = 1 << 20
#: Lines of 44 bytes, line feed included; and one line that never ends.
SHORT = "yes 0123456789012345678901234567890123456789012 | head -c {size}"
LONG = "head -c {size} /dev/zero | tr '\\0' x"
_SIZE = 100 * MB
#: The library takes a minute for 100 MB where others use the machine too.
_SDK_SIZE = 5 * MB
_CHATTY = 8
_CHATTY_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_ANCHOR = "docker logs > file"


def logs(ground: Ground) -> Row:
    """Measure 100 MB in short lines."""
    return _throughput(
        ground, Row("logs", "a log of 100 MB in lines of 44 bytes", "MB/s", _ANCHOR, 1.2), SHORT
    )


def long_logs(ground: Ground) -> Row:
    """Measure 100 MB in one line."""
    return _throughput(ground, Row("long-logs", "a log of 100 MB in one line", "MB/s", _ANCHOR, 0.8), LONG)


def log_cpu(ground: Ground) -> Row:
    """Measure the processor time for short lines."""
    what = "user processor seconds for 100 MB of log in lines of 44 bytes, stored (measured on 5 MB)"
    row = Row("log-cpu", what, "s", "SDK's logs(stream=True)", 0.5)
    with _written(SHORT, _SDK_SIZE) as container:
        url = ground.database("log-cpu")

        def user(way: str) -> float:
            return float(_reader(way, container, url)["user"]) * _SIZE / _SDK_SIZE

        return take_turns(row, {OURS: lambda: user("ours"), row.anchor: lambda: user("sdk")}, ground.n)


def _throughput(ground: Ground, row: Row, script: str) -> Row:
    taken: list[dict[str, Any]] = []
    with _written(script, _SIZE) as container:
        url = ground.database(row.name)

        def ours() -> float:
            taken.append(_reader("ours", container, url))
            return _SIZE / MB / float(taken[-1]["seconds"])

        def theirs() -> float:
            began = time.perf_counter()
            with open(ground.directory / "log", "wb") as out:
                subprocess.run(["docker", "logs", container], stdout=out, check=True, timeout=600)
            return _SIZE / MB / (time.perf_counter() - began)

        take_turns(row, {OURS: ours, row.anchor: theirs}, ground.n)
    kept = sorted(taken[1:], key=lambda one: float(one["user"]))
    middle = kept[len(kept) // 2]
    memory = [one["memory_mb"] for one in kept]
    row.notes.append(f"processor: {middle['user']:.1f} s user, {middle['system']:.1f} s system for 100 MB")
    row.notes.append(f"most memory of the whole process: {min(memory):.0f} … {max(memory):.0f} MB")
    return row


def chatty(ground: Ground) -> Row:
    """Measure how late a node beats while all its tasks write without a pause."""
    what = f"how late a beat is while {_CHATTY} tasks write as fast as they can, the worst of {_CHATTY_SECONDS:.0f} s"
    row = Row("chatty", what, "ms")
    text = f"name: chatty\nimage: {IMAGE}\nrun: 'yes 0123456789012345678901234567890123456789012'\n".encode()
    for number in range(ground.n):
        with ground.served(f"chatty{number}", _CHATTY) as (fleet, caller):
            ids = [caller.post(text) for _ in range(_CHATTY)]
            wait_until(partial(_all_write, fleet, ids), 120)
            row.add(OURS, 1000 * worst_lateness(fleet, _CHATTY_SECONDS))
            with fleet.db.read() as c:
                sizes = [log_rows.head(c, id).bytes + log_rows.head(c, id).missing_bytes for id in ids]
            row.notes.append(
                f"written meanwhile: {sum(sizes) / MB:.0f} MB, {min(sizes) / MB:.0f} of the least"
            )
    return row


def worst_lateness(fleet: Fleet, seconds: float) -> float:
    """Return by how many seconds the latest beat of the only node was late, as seen in its row."""
    asked, beats = sa.select(nodes.c.beat), []
    end, last, seen_at = time.monotonic() + seconds, None, time.monotonic()
    while (now := time.monotonic()) < end:
        with fleet.db.read() as c:
            beat = c.scalar(asked)
        if beat != last:
            beats.append(now - seen_at)
            last, seen_at = beat, now
        time.sleep(_LOOK_SECONDS)
    return max([*beats[1:], time.monotonic() - seen_at]) - fleet.settings.cluster.beat_seconds


def _all_write(fleet: Fleet, ids: list[str]) -> bool:
    with fleet.db.read() as c:
        return all(log_rows.head(c, id).lines for id in ids)


@contextmanager
def _written(script: str, size: int) -> Iterator[str]:
    """Start a container that writes this many bytes, wait for its end, and return its name."""
    api = require_docker().api
    body = {
        "Image": IMAGE,
        "Cmd": ["sh", "-c", script.format(size=size)],
        # Not the workers' driver: `docker logs` reads `local` faster, and the figures stay comparable.
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "json-file", "Config": {}}},
    }
    made = str(api.create_container_from_config(body)["Id"])
    try:
        api.start(made)
        assert api.wait(made, timeout=600)["StatusCode"] == 0
        yield made
    finally:
        api.remove_container(made, force=True)


def _reader(way: str, container: str, url: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.bench.log_reader", way, container, url]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=True, timeout=900)
    return dict(json.loads(done.stdout.splitlines()[-1]))
