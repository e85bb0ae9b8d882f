"""The Docker host of one worker process: its daemon, its settings, and what tasks may use of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import RuntimeUnavailable
from engine.jobspec.task import HostAccess
from engine.runtime.base import Order
from engine.runtime.docker import options
from engine.runtime.docker.activity import Activity
from engine.runtime.docker.client import Client
from engine.runtime.docker.erase import closed_directories, erase
from engine.runtime.docker.host_places import HostPlaces
from engine.runtime.docker.opening import open_directories
from engine.runtime.docker.shared_files import SharedFiles
from engine.runtime.docker.troubles import Troubles
from engine.settings import RuntimeSettings

#: The removal of one directory goes on in the next sweep after this time; 100,000 files take about a second.
_ERASE_SECONDS = 2.0
#: Directories that Docker opens in one call.
_MOST_CLOSED = 1000


@dataclass(frozen=True)
class Host:
    """Connection, settings and state that all verbs of the runtime share. Thread-safe."""

    client: Client
    settings: RuntimeSettings
    data_dir: Path
    installation: str
    access: HostAccess
    shared_files: SharedFiles
    places: HostPlaces
    troubles: Troubles
    activity: Activity = field(default_factory=Activity)

    def allowed_mounts(self, order: Order) -> list[dict[str, Any]]:
        """Return the order's mounts for Docker. Raises HostAccessDenied, Unstartable, RuntimeUnavailable."""
        places = self.places if self.shared_files.are_shared() else None
        return options.allowed_mounts(order, self.access, places)

    def work_directory(self, order: Order) -> Path:
        """Return the path of the work directory of the container that this delivery makes."""
        return self.data_dir / "work" / f"{order.name}-d{order.delivery}"

    def remove_work_directory(self, order: Order) -> None:
        """Remove the work directory of this delivery, when no container binds it any more."""
        self.erase(self.work_directory(order).name)

    def remove_work_directories(self, name: str) -> None:
        """Remove the work directories of all deliveries of a container."""
        for path in (self.data_dir / "work").glob(f"{name}-d*"):
            self.erase(path.name)

    def erase(self, name: str) -> bool:
        """Remove one work directory; return True when it is gone. What stays is told, and tried again by the sweep."""
        if not self.troubles.may_try("directory", name):
            return False
        try:
            directory = self.data_dir / "work" / name
            is_gone = self.erase_path(directory, directory)
        except (OSError, RuntimeUnavailable) as exc:
            self.troubles.failed("directory", name, str(exc))
            return False
        self.troubles.ended("directory", name)
        return is_gone

    def erase_path(self, directory: Path, within: Path) -> bool:
        """Remove a directory, with Docker's help where it belongs to a user of a container; False: call again.

        `within` is the work directory, which no container may write in any more. Raises OSError, RuntimeUnavailable.
        """
        deadline, opened = time.monotonic() + _ERASE_SECONDS, [""]
        while (left := deadline - time.monotonic()) > 0:
            try:
                return erase(directory, left)
            except PermissionError:
                closed = closed_directories(within, _MOST_CLOSED)
                if not closed or closed == opened:
                    raise
                open_directories(self.client, self.data_dir, self.installation, self.troubles, within, closed)
                opened = closed
        return False
