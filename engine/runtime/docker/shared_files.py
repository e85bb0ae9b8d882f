"""Probe of whether this process and its daemon share files: a nonce is written here and read through a container.

The container never runs: it is created from an empty image with the file bound, and Docker reads the file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from docker.errors import APIError

from engine.model import names
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.files import OutputRefused, from_archive, make_root, tar_of
from engine.runtime.docker.http import RestartDetector

log = logging.getLogger(__name__)

_TARGET = "/ferryman/nonce"
_IMAGE = "ferryman/probe"
_NONCE = f"{names.LABEL}nonce"
#: A probe older than this has ended, on whatever host it began: it is a few calls, each bounded.
_OLD_SECONDS = 120


class SharedFiles:
    """Result of the probe, valid until the daemon restarts. Thread-safe."""

    def __init__(self, client: Client, data_dir: Path, installation: str, *, known: bool | None) -> None:
        """Take as `known` the answer if no probe is needed; None: probe."""
        self._client = client
        self._data_dir = data_dir
        self._installation = installation
        self._known = known
        self._lock = threading.Lock()
        self._are_shared = False
        self._detector: RestartDetector | None = None

    def are_shared(self) -> bool:
        """Return True if files are shared; probe if the daemon restarted. Raises RuntimeUnavailable."""
        if self._known is not None:
            return self._known
        with self._lock:
            if self._detector is None or self._detector.has_restarted():
                self._probe()
            return self._are_shared

    def _probe(self) -> None:
        if self._detector is not None:
            self._detector.close()
            self._detector = None
            log.info("Docker restarted: probing again whether files are shared")
        # Opened before the probe, so that the next call notices a restart during the probe.
        detector = self._client.restart_detector()
        try:
            self._are_shared = probe(self._client, self._data_dir, self._installation)
        except BaseException:
            detector.close()
            raise
        self._detector = detector


def probe(client: Client, data_dir: Path, installation: str) -> bool:
    """Return True if a container can bind a file in `data_dir`. Raises RuntimeUnavailable."""
    _remove_abandoned(client, installation)
    file, descriptor = _make_locked_file(make_root(data_dir), installation)
    try:
        with translated("probing whether files are shared"):
            labels = [f"LABEL {key}={value}" for key, value in _labels(installation).items()]
            client.api.import_image_from_data(
                tar_of({"ferryman": (None, 0o755)}), repository=_IMAGE, tag=_nonce(file), changes=labels
            )
            return _read_through(client, installation, file) == _nonce(file).encode()
    finally:
        # If Docker does not remove the probe, the file stays unlocked, for `remove_orphans`.
        try:
            _remove(client, _nonce(file))
            file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def remove_orphans(client: Client, data_dir: Path, installation: str) -> None:
    """Remove probes whose process died, which released the lock on their file. Raises RuntimeUnavailable."""
    for file in (data_dir / "work").glob(f"probe-{installation}-*"):
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(client, _nonce(file))
            # Last: if this process dies before, another removes the rest.
            file.unlink(missing_ok=True)
        except BlockingIOError:
            log.debug("%s: its probe is still running", file.name)
        finally:
            os.close(descriptor)


def _make_locked_file(root: Path, installation: str) -> tuple[Path, int]:
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


def _labels(installation: str) -> dict[str, str]:
    return {names.INSTALLATION: installation, names.KIND: "probe"}


def _remove(client: Client, nonce: str) -> None:
    """Remove the probe's container and image, if they exist."""
    with translated("removing a probe"):
        for item in client.api.containers(all=True, filters={"label": [f"{_NONCE}={nonce}"]}):
            _remove_if_present(client.api.remove_container, item["Id"])
        _remove_if_present(client.api.remove_image, f"{_IMAGE}:{nonce}")


def _remove_abandoned(client: Client, installation: str) -> None:
    """Remove old probes whose file is not here: made on a host that is gone, or in another data directory."""
    with translated("looking for old probes"):
        for item in client.api.containers(all=True, filters=_filters(installation)):
            if time.time() - item["Created"] > _OLD_SECONDS:
                _remove_if_present(client.api.remove_container, item["Id"])
        for item in client.api.images(filters=_filters(installation)):
            if time.time() - item["Created"] > _OLD_SECONDS:
                _remove_if_present(client.api.remove_image, item["Id"])


def _filters(installation: str) -> dict[str, list[str]]:
    return {"label": [f"{key}={value}" for key, value in _labels(installation).items()]}


def _remove_if_present(remove: Callable[..., object], name: str) -> None:
    """Remove a container or image that another process may have removed, or may be removing."""
    try:
        remove(name, force=True)
    except APIError as exc:
        if exc.status_code not in (404, 409):
            raise


def _read_through(client: Client, installation: str, file: Path) -> bytes:
    body = {
        "Image": f"{_IMAGE}:{_nonce(file)}",
        "Cmd": ["none"],
        "Labels": _labels(installation) | {_NONCE: _nonce(file)},
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "Mounts": [{"Type": "bind", "Source": str(file), "Target": _TARGET, "ReadOnly": True}],
        },
    }
    try:
        made = client.api.create_container_from_config(body)
    except APIError:
        # 400, the source does not exist: the daemon sees other files than this process.
        return b""
    try:
        pieces, about = client.api.get_archive(made["Id"], _TARGET)
        return from_archive(about, pieces, 64).data
    except (APIError, OutputRefused):
        return b""
