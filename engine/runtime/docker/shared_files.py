"""Whether this process and its daemon share files: a nonce is written here and read through a container.

Nothing is run: a container of an empty image is created with the file bound, and Docker reads it out.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import secrets
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from docker.errors import APIError

from engine.model import names
from engine.runtime.docker.client import Client, translated
from engine.runtime.docker.files import Refused, from_archive, make_root
from engine.runtime.docker.http import Tether

log = logging.getLogger(__name__)

_PLACE = "/ferryman/nonce"
_IMAGE = "ferryman/probe"
_NONCE = f"{names.LABEL}nonce"
#: Beyond this a probe on this daemon has ended, wherever it was made: it is a few calls, each bounded.
_OLD_SECONDS = 120


class SharedFiles:
    """What the probe found, for as long as the daemon that it asked lives. Thread-safe.

    A daemon tells its start nowhere; but a connection to it ends with it.
    """

    def __init__(self, client: Client, data_dir: Path, installation: str, *, told: bool | None) -> None:
        """`told`: the answer, known beforehand; None: to be tried."""
        self._client = client
        self._data_dir = data_dir
        self._installation = installation
        self._told = told
        self._lock = threading.Lock()
        self._found = False
        self._tether: Tether | None = None

    def found(self) -> bool:
        """Whether files are shared; tried when the daemon has started since. Raises RuntimeUnavailable."""
        if self._told is not None:
            return self._told
        with self._lock:
            if self._tether is None or self._tether.is_cut():
                self._try()
            return self._found

    def _try(self) -> None:
        if self._tether is not None:
            self._tether.close()
            self._tether = None
            log.info("Docker was started again: probing anew whether files are shared")
        # Before the probe: of a start between them the next call hears.
        tether = self._client.tether()
        try:
            self._found = probe(self._client, self._data_dir, self._installation)
        except BaseException:
            tether.close()
            raise
        self._tether = tether


def probe(client: Client, data_dir: Path, installation: str) -> bool:
    """True when a file in `data_dir` can be bound. Raises RuntimeUnavailable."""
    _remove_old(client, installation)
    file, held = _hold(make_root(data_dir), installation)
    try:
        with translated("probing whether files are shared"):
            labels = [f"LABEL {key}={value}" for key, value in _labels(installation).items()]
            client.api.import_image_from_data(_empty(), repository=_IMAGE, tag=_nonce(file), changes=labels)
            return _read_through(client, installation, file) == _nonce(file).encode()
    finally:
        # Where Docker does not let it be removed, the file stays unlocked, for `remove_dead`.
        try:
            _remove(client, _nonce(file))
            file.unlink(missing_ok=True)
        finally:
            os.close(held)


def remove_dead(client: Client, data_dir: Path, installation: str) -> None:
    """Remove what probes left here whose process died: its lock on the file went with it. Raises RuntimeUnavailable."""
    for file in (data_dir / "work").glob(f"probe-{installation}-*"):
        try:
            held = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(client, _nonce(file))
            # Last: whoever dies before this is followed by another.
            file.unlink(missing_ok=True)
        except BlockingIOError:
            log.debug("%s: its probe goes on", file.name)
        finally:
            os.close(held)


def _hold(root: Path, installation: str) -> tuple[Path, int]:
    """A file with its nonce, locked as long as this process lives or the descriptor is open."""
    while True:
        nonce = secrets.token_hex(16)
        file = root / f"probe-{installation}-{nonce}"
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        os.write(held, nonce.encode())
        if os.fstat(held).st_nlink:
            return file, held
        # Taken for dead before it was locked.
        os.close(held)


def _nonce(file: Path) -> str:
    return file.name.rpartition("-")[2]


def _labels(installation: str) -> dict[str, str]:
    return {names.INSTALLATION: installation, names.KIND: "probe"}


def _remove(client: Client, nonce: str) -> None:
    """The probe's container and image; neither is there when the import failed."""
    with translated("removing a probe"):
        for item in client.api.containers(all=True, filters={"label": [f"{_NONCE}={nonce}"]}):
            _forget(client.api.remove_container, item["Id"])
        _forget(client.api.remove_image, f"{_IMAGE}:{nonce}")


def _remove_old(client: Client, installation: str) -> None:
    """What is left of probes whose file is not here: of a host that is gone, or another data directory's."""
    with translated("looking for old probes"):
        for item in client.api.containers(all=True, filters=_wanted(installation)):
            if time.time() - item["Created"] > _OLD_SECONDS:
                _forget(client.api.remove_container, item["Id"])
        for item in client.api.images(filters=_wanted(installation)):
            if time.time() - item["Created"] > _OLD_SECONDS:
                _forget(client.api.remove_image, item["Id"])


def _wanted(installation: str) -> dict[str, list[str]]:
    return {"label": [f"{key}={value}" for key, value in _labels(installation).items()]}


def _forget(remove: Callable[..., object], thing: str) -> None:
    """Remove what another may have removed, or be removing, already."""
    try:
        remove(thing, force=True)
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
            "Mounts": [{"Type": "bind", "Source": str(file), "Target": _PLACE, "ReadOnly": True}],
        },
    }
    try:
        made = client.api.create_container_from_config(body)
    except APIError:
        # 400, the source does not exist: the daemon sees other files than we do.
        return b""
    try:
        pieces, about = client.api.get_archive(made["Id"], _PLACE)
        return from_archive(about, pieces, 64).data
    except (APIError, Refused):
        return b""


def _empty() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("ferryman")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    return packed.getvalue()
