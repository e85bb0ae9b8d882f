"""Probes: containers of an empty image that never run, through which Docker reads or writes in the data directory.

Each has a file here, locked by its process, so that another removes what a dead process left.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.errors import APIError

from engine.errors import ErrorAnswer
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.files import make_root, tar_of
from engine.runtime.docker.troubles import Troubles

log = logging.getLogger(__name__)

#: The only folder in a probe's image.
FOLDER = "/ferryman"
_IMAGE = "ferryman/probe"
_NONCE = re.compile("[0-9a-f]{32}")
#: A probe older than this has ended, on whatever host it began: it is a few calls, each bounded.
_OLD_SECONDS = 120


@dataclass(frozen=True)
class Probe:
    """Image of a probe, its file here, and the names of its containers."""

    installation: str
    file: Path

    @property
    def nonce(self) -> str:
        """The text of the file, and the tag of the image."""
        return _nonce(self.file)

    @property
    def name(self) -> str:
        """The name of the container."""
        return _name(self.installation, self.nonce)

    @property
    def control(self) -> str:
        """The name of the container that shows whether the daemon is at fault."""
        return _control(self.name)

    def body(self, mounts: Sequence[Mapping[str, object]]) -> dict[str, object]:
        """Return the body of `POST /containers/create`."""
        return {
            "Image": f"{_IMAGE}:{self.nonce}",
            "Cmd": ["none"],
            "Labels": labels.of_probe(self.installation),
            "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "Mounts": list(mounts)},
        }


@contextlib.contextmanager
def make(
    client: Client,
    data_dir: Path,
    installation: str,
    troubles: Troubles,
    ask: Callable[[Callable[[], object]], object] = lambda call: call(),
) -> Iterator[Probe]:
    """Import the image of a probe and yield the probe, whose containers the caller makes; remove all at the end.

    `ask` makes the call that imports the image. Raises RuntimeUnavailable, OSError.
    """
    _remove_abandoned(client, installation, troubles)
    file, descriptor = make_locked_file(make_root(data_dir), installation)
    probe = Probe(installation, file)
    texts = [f"LABEL {key}={value}" for key, value in labels.of_probe(installation).items()]
    image = tar_of({FOLDER: (None, 0o755)})
    try:
        with translated("importing the image of a probe"):
            ask(
                lambda: client.api.import_image_from_data(
                    image, repository=_IMAGE, tag=probe.nonce, changes=texts
                )
            )
        yield probe
    finally:
        # If Docker does not remove the probe, the file stays unlocked, for `remove_orphans`.
        try:
            _remove(client, installation, probe.nonce)
            file.unlink(missing_ok=True)
        except ErrorAnswer as exc:
            troubles.failed("probe", probe.name, str(exc))
        finally:
            os.close(descriptor)


def remove_orphans(client: Client, data_dir: Path, installation: str, troubles: Troubles) -> None:
    """Remove probes whose process died, which released the lock on their file. Raises RuntimeUnavailable."""
    for file in (data_dir / "work").glob(f"probe-{installation}-*"):
        name = _name(installation, _nonce(file))
        if not troubles.may_try("probe", name):
            continue
        try:
            _remove_orphan(client, installation, file)
            troubles.ended("probe", name)
        except BlockingIOError:
            log.debug("%s: its probe is still running", file.name)
        except FileNotFoundError:
            log.debug("%s: another process removed it", file.name)
        except (ErrorAnswer, OSError) as exc:
            troubles.failed("probe", name, str(exc))


def _remove_orphan(client: Client, installation: str, file: Path) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(client, installation, _nonce(file))
        # Last: if this process dies before, another removes the rest.
        file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def make_locked_file(root: Path, installation: str) -> tuple[Path, int]:
    """Make a file with its nonce, locked until its descriptor is closed or this process ends; return both."""
    while True:
        nonce = secrets.token_hex(16)
        file = root / f"probe-{installation}-{nonce}"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, nonce.encode())
        if os.fstat(descriptor).st_nlink:
            return file, descriptor
        # Another process removed the file before it was locked.
        os.close(descriptor)


def _nonce(file: Path) -> str:
    return file.name.rpartition("-")[2]


def _name(installation: str, nonce: str) -> str:
    """Return the name of a probe's container."""
    return f"ferryman-{installation}-probe-{nonce}"


def _control(name: str) -> str:
    """Return the name of the container that shows whether the daemon is at fault."""
    return f"{name}-control"


def _remove(client: Client, installation: str, nonce: str) -> None:
    """Remove the probe's containers and image, if they exist. Raises ErrorAnswer."""
    name = _name(installation, nonce)
    with translated("removing a probe"):
        for container in (name, _control(name)):
            _remove_if_present(client.api.remove_container, container)
        _remove_if_present(client.api.remove_image, f"{_IMAGE}:{nonce}")


def _remove_abandoned(client: Client, installation: str, troubles: Troubles) -> None:
    """Remove old probes whose file is not here: made on a host that is gone, or in another data directory.

    A probe is what bears its labels and its name: somebody's copy stays.
    """
    prefix = _name(installation, "")
    filters = {"label": [f"{key}={value}" for key, value in labels.of_probe(installation).items()]}
    with translated("looking for old probes"):
        containers = client.api.containers(all=True, filters=filters)
        images = client.api.images(filters=filters)
    nonces = {
        name.removeprefix(prefix).removesuffix("-control")
        for item in containers
        for name in labels.container_names(item)
        if name.startswith(prefix) and _is_old(item)
    }
    tags = [str(tag) for item in images if _is_old(item) for tag in item.get("RepoTags") or ()]
    nonces |= {tag.removeprefix(f"{_IMAGE}:") for tag in tags if tag.startswith(f"{_IMAGE}:")}
    for nonce in sorted(nonces):
        name = _name(installation, nonce)
        if not _NONCE.fullmatch(nonce) or not troubles.may_try("probe", name):
            continue
        try:
            _remove(client, installation, nonce)
        except ErrorAnswer as exc:
            troubles.failed("probe", name, str(exc))


def _is_old(item: dict[str, float]) -> bool:
    return time.time() - item["Created"] > _OLD_SECONDS


def _remove_if_present(remove: Callable[..., object], name: str) -> None:
    """Remove a container or image that another process may have removed, or may be removing."""
    try:
        remove(name, force=True)
    except APIError as exc:
        if exc.status_code not in (404, 409):
            raise
