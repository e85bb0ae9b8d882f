"""Transport of a link's script, files and output: bound directories beside archives."""

from __future__ import annotations

import time
import uuid

from engine.jobspec.task import HostAccess
from engine.runtime.base import Control
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.bench.figures import OURS, Row, take_turns
from tests.bench.ground import Ground
from tests.support.docker_daemon import KeepingSink, an_order


def files(ground: Ground) -> Row:
    """Measure one link with all three, from prepare to its result; no network, which would hide the difference."""
    what = "a link with run, a file and an output file, prepare to result, no network: bound directories"
    row = Row("files", what, "ms", "archives", 1.0)
    settings = Settings.from_env({}, data_dir=str(ground.directory / "files"))
    installation = f"b{uuid.uuid4().hex[:7]}"

    def link(worker: DockerRuntime) -> float:
        script = "cat a.txt > $FERRYMAN_OUTPUT"
        order = an_order(installation, run=script, files={"a.txt": "A\n"}, networks=("none",))
        sink = KeepingSink()
        began = time.perf_counter()
        outcome = worker.go(worker.prepare(order, sink, Control()), sink, Control())
        took = (time.perf_counter() - began) * 1000
        assert outcome.result == "A\n", outcome
        worker.remove(worker.list())
        return took

    bound, packed = (
        DockerRuntime(settings.runtime, settings.path, installation, HostAccess(), shares_files=way)
        for way in (True, False)
    )
    return take_turns(row, {OURS: lambda: link(bound), row.anchor: lambda: link(packed)}, ground.n)
