"""The disk of the data directory: when it is nearly full, and the reserve that is given up then.

A database, a broker and the work files of tasks may share this disk. With the reserve gone, what runs can be ended,
cancelled and removed, which makes room.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

from engine.wording.sizes import size

log = logging.getLogger("ferryman.disk")

#: The reserve is at most this share of the disk.
_RESERVE_SHARE = 16
#: The disk is full when less than this, or this share of it, is free.
_LOW_BYTES, _LOW_SHARE = 16 << 20, 64
#: The reserve is made again when this many times its size is free.
_ROOM = 2
#: Fewer free inodes than this are none: a few are needed for a journal or a new file.
_FEWEST_INODES = 64


class Disk:
    """Watch on the free space of a directory, with a file of zeros as reserve. Any process may remove or make it."""

    def __init__(self, data_dir: Path, reserve_bytes: int) -> None:
        """Take `reserve_bytes` 0 for no reserve; a small disk has a smaller one."""
        self._directory = data_dir
        self._file = data_dir / "reserve"
        about = os.statvfs(data_dir)
        total = about.f_blocks * about.f_frsize
        self._bytes = min(reserve_bytes, total // _RESERVE_SHARE)
        #: Below this much free space nothing new is begun.
        self._low_bytes = min(_LOW_BYTES, total // _LOW_SHARE)

    @property
    def device(self) -> int:
        """The number of the filesystem."""
        return self._directory.stat().st_dev

    def why_low(self) -> str:
        """Return in words that the disk is nearly full, "" when there is room."""
        about = os.statvfs(self._directory)
        free = about.f_bavail * about.f_frsize
        # Without a number of inodes (btrfs) there is none that can run out.
        has_inodes = about.f_files == 0 or about.f_favail >= _FEWEST_INODES
        if free >= self._low_bytes and has_inodes:
            return ""
        left = f"{size(free)} of {size(about.f_blocks * about.f_frsize)}"
        left = left if has_inodes else f"{about.f_favail} of {about.f_files} inodes"
        return f"the disk of the data directory {self._directory} is full: {left} are free"

    def why_not_roomy(self) -> str:
        """Return why work cannot begin again after the disk was full, "" when there is room for it and the reserve."""
        if reason := self.why_low():
            return reason
        about = os.statvfs(self._directory)
        free, has_reserve = about.f_bavail * about.f_frsize, self._file.exists()
        wanted = 2 * self._low_bytes + (0 if has_reserve else _ROOM * self._bytes)
        if free >= wanted:
            return ""
        where = f"the disk of the data directory {self._directory}"
        return f"{where} was full: {size(free)} are free, {size(wanted)} are needed"

    def outputs(self) -> list[Path]:
        """Return the output directories of all links that have files here, whichever process runs them."""
        return list((self._directory / "work").glob("*/out"))

    def give_up_reserve(self) -> bool:
        """Remove the reserve; return False when there is none."""
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        log.warning(
            "the reserve of %s is given up: %s", size(self._bytes), self.why_low() or "the disk was full"
        )
        return True

    def renew_reserve(self) -> None:
        """Make the reserve, if there is none and room for it. A shortage ends the attempt; the next one comes later."""
        about = os.statvfs(self._directory)
        if not self._bytes or self._file.exists() or about.f_bavail * about.f_frsize < _ROOM * self._bytes:
            return
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._bytes)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
