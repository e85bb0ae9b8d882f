"""What a stand-alone with two queues costs while nothing is to do."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from tests.bench.figures import Row
from tests.bench.ground import Ground
from tests.support.standalone import Standalone, descendants, standalone

_SETTLE_SECONDS = 10.0
_WINDOW_SECONDS = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


def idle(ground: Ground) -> Row:
    """Memory, shared pages divided among those who share them (PSS), and processor time."""
    row = Row("idle", "idle stand-alone with two queues: memory of all its processes", "MB")
    home = ground.directory / "idle"
    home.mkdir()
    with standalone(home, "--queue", "transcoding:3", "--queue", "default:10") as alone:
        time.sleep(_SETTLE_SECONDS)
        loads = []
        for _ in range(ground.n):
            before, began = _seconds(alone), time.monotonic()
            time.sleep(_WINDOW_SECONDS)
            loads.append(100 * (_seconds(alone) - before) / (time.monotonic() - began))
            row.add("PSS of all processes", sum(map(_pss_mb, _processes(alone))))
        loads.sort()
        row.notes.append(
            f"processor: {loads[len(loads) // 2]:.1f} % of a core ({loads[0]:.1f} … {loads[-1]:.1f})"
        )
        for pid, line in sorted(_processes(alone).items()):
            row.notes.append(f"{_pss_mb(pid):5.0f} MB  {line[-60:].strip()}")
    return row


def _processes(alone: Standalone) -> dict[int, str]:
    return {alone.process.pid: "supervisor", **descendants(alone.process.pid)}


def _pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _seconds(alone: Standalone) -> float:
    """Processor time of all of them, and of children that they waited for."""
    ticks = 0
    for pid in _processes(alone):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS
