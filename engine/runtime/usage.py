"""Space that a directory of a task takes: bytes and entries, counted in bounded time whatever the task left there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Directories that are open at the same time; a chain of directories needs two, whatever its length.
_MOST_OPEN = 64
#: st_blocks counts in these units.
_BLOCK_BYTES = 512


@dataclass(frozen=True)
class Usage:
    """Bytes on the disk, and files and directories, below a directory."""

    bytes: int = 0
    entries: int = 0
    #: The count was given up: beyond its bounds, or in too many nested directories.
    is_cut: bool = False
    #: Directories that this process may not read.
    closed: int = 0


def measure(path: Path, most_bytes: int, most_entries: int) -> Usage:
    """Return what is below a directory; the count ends when it has passed one of the bounds. Raises OSError."""
    count = _Count(most_bytes, most_entries)
    waiting = [_Folder(os.open(path, _OPEN_DIRECTORY), [])]
    try:
        waiting[0].names = count.read(waiting[0].descriptor)
        while waiting and not count.is_cut:
            folder = waiting[-1]
            if not folder.names:
                os.close(waiting.pop().descriptor)
                continue
            inner = count.enter(folder.descriptor, folder.names.pop())
            if not folder.names:
                os.close(waiting.pop().descriptor)
            if inner is not None:
                waiting.append(inner)
            count.is_cut = count.is_cut or len(waiting) > _MOST_OPEN
    finally:
        for folder in waiting:
            os.close(folder.descriptor)
    return Usage(count.bytes, count.entries, count.is_cut, count.closed)


@dataclass
class _Folder:
    descriptor: int
    #: Directories in it that are not counted yet.
    names: list[str]


class _Count:
    def __init__(self, most_bytes: int, most_entries: int) -> None:
        self._most_bytes = most_bytes
        self._most_entries = most_entries
        self._linked: set[int] = set()
        self.bytes = self.entries = self.closed = 0
        self.is_cut = False

    def enter(self, parent: int, name: str) -> _Folder | None:
        """Open a directory and count what is in it; None when it is gone or closed to this process."""
        try:
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
        except PermissionError:
            self.closed += 1
            return None
        except OSError:
            # Removed or replaced by the task meanwhile.
            return None
        try:
            return _Folder(descriptor, self.read(descriptor))
        except BaseException:
            os.close(descriptor)
            raise

    def read(self, descriptor: int) -> list[str]:
        """Count the entries of a directory; return the names of the directories among them."""
        names = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self._add(about)
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                if self.bytes > self._most_bytes or self.entries > self._most_entries:
                    self.is_cut = True
                    break
        return names

    def _add(self, about: os.stat_result) -> None:
        self.entries += 1
        if about.st_nlink > 1 and about.st_ino in self._linked:
            return
        self._linked.add(about.st_ino)
        self.bytes += about.st_blocks * _BLOCK_BYTES


def unnamed_bytes(container_ids: Iterable[str], device: int) -> dict[str, int]:
    """Return the bytes that each container keeps on a device in files without a name, which no directory shows.

    Only root sees them; for another user, and for containers of another host, nothing is found.
    """
    wanted = tuple(container_ids)
    found: dict[tuple[str, int], int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            groups = (process / "cgroup").read_text()
            container_id = next((each for each in wanted if each in groups), "")
            descriptors = list((process / "fd").iterdir()) if container_id else []
        except OSError:
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                about = descriptor.stat()
                if about.st_dev == device and about.st_nlink == 0:
                    found[container_id, about.st_ino] = about.st_blocks * _BLOCK_BYTES
    totals: dict[str, int] = {}
    for (container_id, _), size in found.items():
        totals[container_id] = totals.get(container_id, 0) + size
    return totals
