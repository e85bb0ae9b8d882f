"""Clean-up of a host: what this installation has there, and its removal.

Each thing's failure is its own: an answer of Docker, whatever it says, is no silence. What cannot be removed is told
once, tried ever more rarely, and keeps nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from engine import failpoints
from engine.errors import ErrorAnswer, RuntimeUnavailable
from engine.runtime.base import Resource
from engine.runtime.docker import container, files, labels, probes, sandbox, volumes
from engine.runtime.docker.host import Host

#: Time that a call of `remove` may spend on what cannot be removed; the next call tries the rest.
_FAILING_SECONDS = 60.0


def list_resources(host: Host, *, with_directories: bool) -> Sequence[Resource]:
    """Return the containers, volumes and sandboxes of the installation, then its work directories if asked for."""
    directories = files.list_directories(host.data_dir, host.installation) if with_directories else ()
    resources, strangers = labels.list_resources(host.client, host.installation)
    for stranger in strangers:
        host.troubles.left_alone(stranger.kind, stranger.name, stranger.reason)
    return [*resources, *directories]


def remove(host: Host, resources: Iterable[Resource]) -> int:
    """Remove containers first, then the rest; return how many are gone. One that stays does not stop the others.

    Raises RuntimeUnavailable when Docker does not answer.
    """
    gone, failing = 0, 0.0
    for resource in sorted(resources, key=lambda resource: resource.kind != "container"):
        if not host.troubles.may_try(resource.kind, resource.name):
            continue
        began = time.monotonic()
        try:
            with host.activity.busy():
                gone += _remove(host, resource)
        except RuntimeUnavailable as exc:
            # A call about one thing may hang while the daemon answers everything else.
            if not isinstance(exc, ErrorAnswer) and not host.client.answers():
                raise
            host.troubles.failed(resource.kind, resource.name, str(exc))
            failing += time.monotonic() - began
            if failing > _FAILING_SECONDS:
                break
    return gone


def remove_orphans(host: Host) -> None:
    """Remove probes of shared files whose process died."""
    probes.remove_orphans(host.client, host.data_dir, host.installation, host.troubles)


def _remove(host: Host, resource: Resource) -> bool:
    """Return True when the resource is gone. Raises RuntimeUnavailable."""
    if resource.kind == "directory":
        return host.erase(resource.id)
    if resource.kind == "sandbox":
        sandbox.remove(host.client, resource.id)
    elif resource.kind == "volume":
        volumes.remove(host.client, resource.id)
    else:
        container.remove(host.client, resource.id, force=True)
        failpoints.hit("remove.container")
        host.remove_work_directories(resource.name)
    host.troubles.ended(resource.kind, resource.name)
    return True
