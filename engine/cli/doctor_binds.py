"""Check of `ferryman doctor`: the host paths that tasks may mount (FERRYMAN_BIND_SOURCES), as a worker judges them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

from engine.errors import HostAccessDenied, RuntimeUnavailable
from engine.jobspec.host_access import host_access_of
from engine.settings import Settings


def bind_problems(settings: Settings) -> Iterator[str]:
    """Give for each entry that a worker here would refuse the reason; nothing when Docker does not answer."""
    if not settings.runtime.bind_sources:
        return
    from engine.runtime.docker.client import Client
    from engine.runtime.docker.host_places import HostPlaces

    docker = settings.runtime
    access = host_access_of(docker, settings.private_places)
    with closing(Client(docker.docker_host, min(docker.docker_timeout_seconds, 10.0))) as client:
        places = HostPlaces(client, access, are_devices_made="MKNOD" in docker.keep_capabilities)
        for path, is_writable in access.bind_sources:
            try:
                places.refuse_unsafe(os.path.realpath(path), is_writable=is_writable)
            except HostAccessDenied as exc:
                yield str(exc)
            except RuntimeUnavailable:
                # The check of Docker has told it.
                return
