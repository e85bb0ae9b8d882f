"""`python -m engine.standalone.containers`: count or remove the containers of this installation on this host.

A process of its own, so that the supervisor loads neither Docker's client nor a database. It is started while the
workers end, and then reads one word from standard input: `running` counts, `remove` removes containers and volumes.
"""

from __future__ import annotations

import sys

from engine.errors import FerrymanError
from engine.jobspec.host_access import host_access_of
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from engine.store.database import Database


def main() -> int:
    """Print the number of running containers, counted before any are removed."""
    settings = Settings.from_env()
    database = Database(settings.store, pool=1)
    try:
        installation = database.open()
    finally:
        database.close()
    host_access = host_access_of(settings.runtime, settings.private_places)
    runtime = DockerRuntime(settings.runtime, settings.path, installation, host_access)
    verb = sys.stdin.readline().strip()
    resources = runtime.list()
    running = [r for r in resources if r.kind == "container" and r.state == "running"]
    if verb == "remove":
        # Remove containers first: a volume in use cannot be removed.
        runtime.remove(sorted(resources, key=lambda r: r.kind != "container"))
    print(len(running))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerrymanError as exc:
        print(exc, file=sys.stderr)
        sys.exit(1)
