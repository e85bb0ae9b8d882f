"""Cost of a stand-alone with two queues while there is nothing to do."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.bench.figures import Row
from tests.bench.ground import Ground
from tests.support.standalone import Standalone, descendants, standalone

_SETTLE_SECONDS = 10.0
_WINDOW_SECONDS = 5.0
_COUNT_SECONDS = 20.0
_COUNTED = Path(__file__).parent / "counted"
_TICKS = os.sysconf("SC_CLK_TCK")


def idle(ground: Ground) -> Row:
    """Measure the processor time of all its processes, their memory, and their statements."""
    row = Row("idle", "idle stand-alone with two queues: processor time of all its processes", "% of a core")
    with _alone(ground, "idle") as alone:
        before, began = _seconds(alone), time.monotonic()
        memory = []
        for _ in range(ground.n):
            then, since = sum(_seconds(alone).values()), time.monotonic()
            time.sleep(_WINDOW_SECONDS)
            spent = sum(_seconds(alone).values()) - then
            row.add("all processes", 100 * spent / (time.monotonic() - since))
            memory.append(sum(map(_pss_mb, _processes(alone))))
        took, after = time.monotonic() - began, _seconds(alone)
        row.notes.append(
            f"memory, shared pages divided among those who share them (PSS): {max(memory):.0f} MB"
        )
        for pid, line in sorted(_processes(alone).items()):
            load = 100 * (after[pid] - before.get(pid, 0.0)) / took
            row.notes.append(f"{load:5.2f} %  {_pss_mb(pid):4.0f} MB  {line[-60:].strip()}")
    row.notes.append(_statements(ground))
    return row


@contextmanager
def _alone(ground: Ground, name: str, **more: str) -> Iterator[Standalone]:
    """Start a stand-alone and give it time to settle."""
    home = ground.directory / name
    home.mkdir()
    if ground.new_database:
        more["FERRYMAN_DATABASE_URL"] = ground.database(name)
    options = ("--queue", "transcoding:3", "--queue", "default:10")
    with standalone(home, *options, FERRYMAN_SANDBOX=ground.sandbox, **more) as alone:
        time.sleep(_SETTLE_SECONDS)
        yield alone


def _statements(ground: Ground) -> str:
    """Count the statements to database and broker, in a second stand-alone, because counting takes time too."""
    counts = ground.directory / "counts"
    counts.mkdir()

    def counted() -> int:
        return sum(int(file.read_text() or 0) for file in counts.iterdir())

    with _alone(ground, "counted", PYTHONPATH=str(_COUNTED), BENCH_COUNTS=str(counts)) as alone:
        broker = redis.Redis.from_url(str(alone.run_file["broker_url"]))

        def commands() -> int:
            return int(broker.info("stats")["total_commands_processed"])

        statements, sent = counted(), commands()
        time.sleep(_COUNT_SECONDS)
        statements, sent = counted() - statements, commands() - sent
        broker.close()
    return (
        f"statements to the database: {statements / _COUNT_SECONDS:.1f} a second;"
        f" commands to the broker: {sent / _COUNT_SECONDS:.1f}"
    )


def _processes(alone: Standalone) -> dict[int, str]:
    return {alone.process.pid: "supervisor", **descendants(alone.process.pid)}


def _pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _seconds(alone: Standalone) -> dict[int, float]:
    """Return the processor time of each process and of the children that it waited for."""
    return {pid: _seconds_of(pid) for pid in _processes(alone)}


def _seconds_of(pid: int) -> float:
    """Return a process's time by the scheduler's clock if there is one: ticks of 10 ms are too coarse here."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    waited = sum(map(int, fields[13:15])) / _TICKS
    threads = [task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir()]
    if not all(file.exists() for file in threads):
        return waited + sum(map(int, fields[11:13])) / _TICKS
    return waited + sum(int(file.read_text().split()[0]) for file in threads) / 1e9
