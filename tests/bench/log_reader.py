"""Reader of a container's whole log in its own process: `python -m tests.bench.log_reader ours|sdk CONTAINER URL`.

`ours` is a worker's way: our reader, into the rows of a task in the database of URL. `sdk` is the docker library's
stream. Prints seconds, processor seconds (user and system) and the peak memory, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable

from engine.runtime.base import Control
from engine.runtime.docker.logs import Follower
from engine.settings import Settings
from engine.store.database import Database
from engine.worker.execute.log_writer import LogWriter
from tests.support.docker_daemon import require_docker
from tests.support.verb_world import World


def _ours(container: str, url: str, directory: str) -> Callable[[], int]:
    settings = Settings.from_env({}, data_dir=directory, database_url=url)
    db = Database(settings.store)
    world = World(db, settings, db.open())
    world.wipe()
    client = require_docker()

    def read() -> int:
        sink = LogWriter(world.installation, world.confirmed(), Control())
        follower = Follower(client, container, sink, settings.runtime.result_bytes, is_behind=True)
        follower.start()
        follower.finish(60, bool)
        assert sink.close(300), "the log is not stored"
        with db.read() as c:
            return int(c.exec_driver_sql("SELECT sum(bytes + missing_bytes) FROM log_heads").scalar_one())

    return read


def _sdk(container: str, *_: str) -> Callable[[], int]:
    api = require_docker().api
    return lambda: sum(map(len, api.logs(container, stream=True)))


def main() -> None:
    """Read once, and print the figures."""
    way, container, url = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ferryman-bench-") as directory:
        read = {"ours": _ours, "sdk": _sdk}[way](container, url, directory)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        size = read()
        seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "bytes": size,
        "seconds": seconds,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "memory_mb": after.ru_maxrss / 1024,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
