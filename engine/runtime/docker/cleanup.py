"""Clean-up of a host: what this installation has there, and its removal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from engine import failpoints
from engine.errors import RuntimeUnavailable
from engine.runtime.base import Resource
from engine.runtime.docker import container, files, labels, sandbox, shared_files, volumes
from engine.runtime.docker.host import Host

log = logging.getLogger(__name__)

#: A removal gives up after Docker did not answer for this many resources.
_MOST_FAILURES = 3


def list_resources(host: Host, *, with_directories: bool) -> Sequence[Resource]:
    """Return the containers, volumes and sandboxes of the installation, then its work directories if asked for."""
    directories = files.list_directories(host.data_dir, host.installation) if with_directories else ()
    return [*labels.list_resources(host.client, host.installation), *directories]


def remove(host: Host, resources: Iterable[Resource]) -> int:
    """Remove containers first, then the rest; return how many are gone. One that stays does not stop the others.

    Raises RuntimeUnavailable when Docker did not answer for several resources.
    """
    gone = failures = 0
    for resource in sorted(resources, key=lambda resource: resource.kind != "container"):
        try:
            with host.activity.busy():
                gone += _remove(host, resource)
        except RuntimeUnavailable as exc:
            failures += 1
            if failures == _MOST_FAILURES:
                raise
            log.warning("%s %s stays for now: %s", resource.kind, resource.name, exc)
    return gone


def remove_orphans(host: Host) -> None:
    """Remove probes of shared files whose process died."""
    shared_files.remove_orphans(host.client, host.data_dir, host.installation)


def _remove(host: Host, resource: Resource) -> bool:
    if resource.kind == "sandbox":
        return sandbox.remove(host.client, resource.id)
    if resource.kind == "volume":
        return volumes.remove(host.client, resource.id)
    if resource.kind == "directory":
        return files.remove_directory(host.data_dir / "work" / resource.id)
    if not container.remove(host.client, resource.id, force=True):
        return False
    failpoints.hit("remove.container")
    if not files.remove_directories(host.data_dir, resource.name):
        log.warning(
            "files of %s stay: their owner is a user of the container, and the worker may not remove them",
            resource.name,
        )
    return True
