"""Probe of whether this process and its daemon share files: a nonce is written here and read through a container.

The container never runs: it is created from an empty image with the file bound, and Docker reads the file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from docker.errors import APIError

from engine.errors import DataDirectoryFault, ErrorAnswer, MachineFault
from engine.runtime.docker import probes
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.files import OutputRefused, from_archive, make_root
from engine.runtime.docker.http import RETRY_SECONDS, RestartDetector
from engine.runtime.docker.probes import Probe
from engine.runtime.docker.troubles import Troubles

log = logging.getLogger(__name__)

_TARGET = "/ferryman/nonce"
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
    with (
        probes.make(client, data_dir, installation, troubles, _ask) as made,
        translated("probing whether files are shared"),
    ):
        return _read_through(client, made) == made.nonce.encode()


def why_unusable(data_dir: Path, installation: str) -> str:
    """Return why a file cannot be written and kept in the data directory, "" when it can."""
    try:
        file, descriptor = probes.make_locked_file(make_root(data_dir), installation)
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


def _read_through(client: Client, probe: Probe) -> bytes:
    """Return the file as the daemon sees it; b"" if it sees none. Raises APIError of a daemon that is at fault."""
    mount = {"Type": "bind", "Source": str(probe.file), "Target": _TARGET, "ReadOnly": True}
    try:
        return _ask(lambda: _read(client, probe.body([mount]), probe.name, _TARGET))
    except APIError as exc:
        # 400, the source does not exist: the daemon sees other files than this process.
        if exc.is_client_error():
            return b""
    except OutputRefused:
        return b""
    # Some engines say 500 for that: the fault is the daemon's if the same fails without the file.
    # The control reads a folder, which is refused when the daemon has answered.
    with contextlib.suppress(OutputRefused):
        _ask(lambda: _read(client, probe.body([]), probe.control, probes.FOLDER))
    return b""


def _read(client: Client, body: Mapping[str, object], name: str, path: str) -> bytes:
    try:
        client.api.create_container_from_config(body, name)
    except APIError as exc:
        # A create that was answered by an error may have made the container.
        if exc.status_code != 409:
            raise
    pieces, about = client.api.get_archive(name, path)
    return from_archive(about, pieces, 64).data
