"""Removal of a directory with all that a task left in it, in bounded time.

A task may leave a tree of any depth and any size, directories of mode 000, and things that cannot be removed. No call
recurses, no path grows longer than two names, and whatever stays does not keep the rest.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
import uuid
from collections.abc import Callable
from pathlib import Path

#: Flags that open a directory, and never what a link of a task leads to.
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_ONLY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: The process or the host is short of something: the rest would fail for the same reason.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: Entries that are taken from a directory at a time, and entries that may stay before the removal gives up.
_BATCH = 1000
#: Directories that are looked at, and the longest path to one, in a search for closed ones.
_MOST_SEEN = 20_000
_LONGEST_PATH = 2000


def erase(path: Path, seconds: float) -> bool:
    """Remove a directory; return False when the time is over before all of it is gone: call again.

    Raises OSError for the first thing in it that cannot be removed; everything else is gone then.
    """
    try:
        top = os.open(path, _OPEN_DIRECTORY)
    except FileNotFoundError:
        return True
    try:
        if not _Eraser(top, time.monotonic() + seconds).run():
            return False
    finally:
        os.close(top)
    with contextlib.suppress(FileNotFoundError):
        path.rmdir()
    return True


def closed_directories(path: Path, most: int) -> list[str]:
    """Return directories below one, by their path from there, that this process may not read, enter and change.

    Only as far as it can see, and not more than `most`. The tree must not change meanwhile.
    """
    closed: list[str] = []
    waiting, seen = [""], 0
    while waiting and len(closed) < most and seen < _MOST_SEEN:
        name, seen = waiting.pop(), seen + 1
        folder = path / name
        if name and _is_closed(folder):
            closed.append(name)
        with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
            inner = [
                os.path.join(name, entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
            waiting += [each for each in inner if len(os.fsencode(each)) < _LONGEST_PATH]
    return closed


def _is_closed(folder: Path) -> bool:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return True
    # In a directory with the sticky bit, everybody removes only what is their own.
    about = folder.stat()
    return bool(about.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, about.st_uid)


class _TimeOver(Exception):
    """The time for this call is over."""


class _Eraser:
    """Removal of everything in one open directory; what lies deeper is moved up into it."""

    def __init__(self, top: int, deadline: float) -> None:
        self._top = top
        self._deadline = deadline
        self._error: OSError | None = None
        #: Names in the directory that cannot be removed.
        self._stuck: set[str] = set()

    def run(self) -> bool:
        """Remove everything; return False when the time is over. Raises OSError."""
        try:
            while self._remove_batch():
                continue
        except _TimeOver:
            return False
        if self._error is not None:
            raise self._error
        return True

    def _remove_batch(self) -> bool:
        """Remove some entries, and move the directories in them up; return True if there may be more."""
        with os.scandir(self._top) as entries:
            waiting = (entry for entry in entries if entry.name not in self._stuck)
            batch = [(e.name, e.is_dir(follow_symlinks=False)) for e in itertools.islice(waiting, _BATCH)]
        for name, is_directory in batch:
            self._check_time()
            is_gone = self._remove_directory(name) if is_directory else self._try(os.unlink, name)
            if not is_gone:
                self._stuck.add(name)
        return bool(batch) and len(self._stuck) < _BATCH

    def _remove_directory(self, name: str) -> bool:
        """Empty a directory and remove it; return False if nothing in it could be removed or moved."""
        try:
            inner = self._open(name)
        except OSError as exc:
            return self._note(exc)
        moved = 0
        try:
            with os.scandir(inner) as entries:
                for entry in entries:
                    self._check_time()
                    if entry.is_dir(follow_symlinks=False):
                        moved += self._move_up(inner, entry.name)
                    else:
                        moved += self._try(os.unlink, entry.name, inner)
        finally:
            os.close(inner)
        try:
            os.rmdir(name, dir_fd=self._top)
        except OSError as exc:
            # More came while it was read: the next batch has it again.
            return (moved > 0 and exc.errno == errno.ENOTEMPTY) or self._note(exc)
        return True

    def _move_up(self, inner: int, name: str) -> bool:
        def move(name: str, dir_fd: int) -> None:
            os.rename(name, uuid.uuid4().hex, src_dir_fd=dir_fd, dst_dir_fd=self._top)

        try:
            move(name, inner)
        except PermissionError:
            # To move a directory into another is to write its "..".
            with contextlib.suppress(OSError):
                _make_accessible(name, inner)
            return self._try(move, name, inner)
        except OSError as exc:
            return self._note(exc)
        return True

    def _open(self, name: str) -> int:
        try:
            return os.open(name, _OPEN_DIRECTORY, dir_fd=self._top)
        except PermissionError:
            _make_accessible(name, self._top)
            return os.open(name, _OPEN_DIRECTORY, dir_fd=self._top)

    def _try(self, remove: Callable[..., None], name: str, folder: int | None = None) -> bool:
        try:
            remove(name, dir_fd=self._top if folder is None else folder)
        except FileNotFoundError:
            return True
        except OSError as exc:
            return self._note(exc)
        return True

    def _note(self, exc: OSError) -> bool:
        if exc.errno in _SHORTAGES:
            raise exc
        # "Not empty" is only what follows from the reason.
        if self._error is None or self._error.errno == errno.ENOTEMPTY:
            self._error = exc
        return False

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _TimeOver


def _make_accessible(name: str, folder: int) -> None:
    """Give the owner all rights to a directory, not to what a link leads to. Raises OSError."""
    handle = os.open(name, _NAME_ONLY, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)
