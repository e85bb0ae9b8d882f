"""Probe of whether this process and its daemon share files: a nonce is written here and read through a container.

The container never runs: it is created from an empty image with the file bound, and Docker reads the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from docker.errors import APIError

from engine.errors import DataDirectoryFault, ErrorAnswer, MachineFault
from engine.runtime.docker import labels
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.files import OutputRefused, from_archive, make_root, tar_of
from engine.runtime.docker.http import RETRY_SECONDS, RestartDetector
from engine.runtime.docker.troubles import Troubles

log = logging.getLogger(__name__)

_TARGET = "/ferryman/nonce"
_IMAGE = "ferryman/probe"
_NONCE = re.compile("[0-9a-f]{32}")
#: A probe older than this has ended, on whatever host it began: it is a few calls, each bounded.
_OLD_SECONDS = 120
#: Enough that the files of a small task have room too.
_TRIAL_BYTES = 1 << 18

T = TypeVar("T")


class SharedFiles:
    """Result of the probe, valid until the daemon restarts. Thread-safe."""

    def __init__(
        self, client: Client, data_dir: Path, installation: str, troubles: Troubles, *, known: bool | None
    ) -> None:
        """Take as `known` the answer if no probe is needed; None: probe."""
        self._client = client
        self._data_dir = data_dir
        self._installation = installation
        self._troubles = troubles
        self._known = known
        self._lock = threading.Lock()
        self._are_shared = False
        self._detector: RestartDetector | None = None

    def are_shared(self) -> bool:
        """Return True if files are shared; probe if the daemon restarted. Raises RuntimeUnavailable, MachineFault."""
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
            self._are_shared = probe(self._client, self._data_dir, self._installation, self._troubles)
        except OSError as exc:
            detector.close()
            raise DataDirectoryFault(f"the data directory cannot be used: {exc}") from exc
        except (ErrorAnswer, APIError) as exc:
            detector.close()
            raise MachineFault(f"Docker cannot show whether files are shared: {exc}") from exc
        except BaseException:
            detector.close()
            raise
        self._detector = detector


def probe(client: Client, data_dir: Path, installation: str, troubles: Troubles) -> bool:
    """Return True if a container can bind a file in `data_dir`. Raises RuntimeUnavailable, APIError, OSError."""
    _remove_abandoned(client, installation, troubles)
    file, descriptor = _make_locked_file(make_root(data_dir), installation)
    name, nonce = _name(installation, _nonce(file)), _nonce(file)
    try:
        with translated("probing whether files are shared"):
            texts = [f"LABEL {key}={value}" for key, value in labels.of_probe(installation).items()]
            _ask(
                lambda: client.api.import_image_from_data(
                    tar_of({"ferryman": (None, 0o755)}), repository=_IMAGE, tag=nonce, changes=texts
                )
            )
            return _read_through(client, installation, file) == nonce.encode()
    finally:
        # If Docker does not remove the probe, the file stays unlocked, for `remove_orphans`.
        try:
            _remove(client, installation, nonce)
            file.unlink(missing_ok=True)
        except ErrorAnswer as exc:
            troubles.failed("probe", name, str(exc))
        finally:
            os.close(descriptor)


def why_unusable(data_dir: Path, installation: str) -> str:
    """Return why a file cannot be written and kept in the data directory, "" when it can."""
    try:
        file, descriptor = _make_locked_file(make_root(data_dir), installation)
        try:
            os.write(descriptor, bytes(_TRIAL_BYTES))
            os.fsync(descriptor)
            if not os.path.samestat(os.fstat(descriptor), file.stat()):
                return f"{data_dir} was replaced meanwhile"
        finally:
            file.unlink(missing_ok=True)
            os.close(descriptor)
    except OSError as exc:
        return f"the data directory cannot be used: {exc}"
    return ""


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


def _ask(call: Callable[[], T]) -> T:
    """Return the answer; ask again a few times after an error answer, which says nothing about the files."""
    for pause in RETRY_SECONDS:
        try:
            return call()
        except APIError as exc:
            if exc.is_client_error():
                raise
            log.warning("asking Docker again whether files are shared: %s", message_of(exc))
        except tarfile.TarError as exc:
            log.warning("asking Docker again whether files are shared: its archive was cut short: %s", exc)
        time.sleep(pause)
    return call()


def _read_through(client: Client, installation: str, file: Path) -> bytes:
    """Return the file as the daemon sees it; b"" if it sees none. Raises APIError of a daemon that is at fault."""
    name = _name(installation, _nonce(file))
    mount = {"Type": "bind", "Source": str(file), "Target": _TARGET, "ReadOnly": True}
    try:
        return _ask(lambda: _read(client, installation, name, _nonce(file), [mount], _TARGET))
    except APIError as exc:
        # 400, the source does not exist: the daemon sees other files than this process.
        if exc.is_client_error():
            return b""
    except OutputRefused:
        return b""
    # Some engines say 500 for that: the fault is the daemon's if the same fails without the file.
    # The control reads a folder, which is refused when the daemon has answered.
    with contextlib.suppress(OutputRefused):
        _ask(lambda: _read(client, installation, _control(name), _nonce(file), [], "/ferryman"))
    return b""


def _read(
    client: Client, installation: str, name: str, tag: str, mounts: list[dict[str, object]], path: str
) -> bytes:
    body = {
        "Image": f"{_IMAGE}:{tag}",
        "Cmd": ["none"],
        "Labels": labels.of_probe(installation),
        "HostConfig": {"NetworkMode": "none", "CapDrop": ["ALL"], "Mounts": mounts},
    }
    try:
        client.api.create_container_from_config(body, name)
    except APIError as exc:
        # A create that was answered by an error may have made the container.
        if exc.status_code != 409:
            raise
    pieces, about = client.api.get_archive(name, path)
    return from_archive(about, pieces, 64).data
