"""`python -m engine.standalone.containers`: this installation's containers here, counted or gone.

A process of its own, so that the supervisor holds neither Docker's client nor a database. It starts beside the
workers' end, and acts when it reads the word: `running` counts, `remove` takes containers and volumes away.
"""

from __future__ import annotations

import sys

from engine.errors import FerrymanError
from engine.jobspec.host_access import host_access_from
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from engine.store.database import Database


def main() -> int:
    """Print how many containers run, or ran until they were removed."""
    settings = Settings.from_env()
    database = Database(settings.store, pool=1)
    try:
        installation = database.open()
    finally:
        database.close()
    host_access = host_access_from(
        settings.runtime.bind_sources, settings.runtime.networks, settings.data_dir
    )
    runtime = DockerRuntime(settings.runtime, settings.path, installation, host_access)
    verb = sys.stdin.readline().strip()
    things = runtime.list()
    running = [thing for thing in things if thing.kind == "container" and thing.state == "running"]
    if verb == "remove":
        # Containers first: a volume that is in use cannot be removed.
        runtime.remove(
            [*(t for t in things if t.kind == "container"), *(t for t in things if t.kind != "container")]
        )
    print(len(running))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerrymanError as exc:
        print(exc, file=sys.stderr)
        sys.exit(1)
