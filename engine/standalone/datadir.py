"""The data directory: private, held by one stand-alone at a time, and the `run.json` that plain workers read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from engine.errors import DataDirInUse, SettingsError

RUN_FILE = "run.json"
_LOCK_FILE = "lock"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Make the directory (0700) and keep every other stand-alone out of it.

    The kernel frees the lock when this process ends, however it ends: a stale lock cannot exist.
    Raises DataDirInUse, saying which process holds it since when; SettingsError when it cannot be used.
    """
    make_private(path)
    with open(os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirInUse(f"{shown(path)} is in use by {_holder(file)}") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "command": "ferryman standalone", "since": time.time()}, file)
        file.flush()
        yield


def make_private(path: Path) -> None:
    """Make the directory, and close it to others: it holds what tasks carry, and the broker's password."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as exc:
        raise SettingsError(
            f"the data directory {path} cannot be used: {exc.strerror}; set FERRYMAN_DATA_DIR or --data-dir"
        ) from exc


def write_run_file(path: Path, content: dict[str, Any]) -> None:
    """Say to processes of this user where broker, database and API are; readable by nobody else."""
    fresh = path / f"{RUN_FILE}.new"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    fresh.rename(path / RUN_FILE)


def remove_run_file(path: Path) -> None:
    """Take it away: nothing runs here any more."""
    (path / RUN_FILE).unlink(missing_ok=True)


def shown(path: Path) -> str:
    """The path as people write it, with ~ for their home."""
    text, home = str(path), os.path.expanduser("~")
    return "~" + text[len(home) :] if home != "/" and text.startswith(home + "/") else text


def _holder(file: IO[str]) -> str:
    try:
        said = json.loads(file.read(4096))
        since = time.localtime(float(said["since"]))
        days = time.strftime("%Y-%m-%d", since)
        clock = time.strftime("%H:%M" if days == time.strftime("%Y-%m-%d") else "%Y-%m-%d %H:%M", since)
        return f"process {int(said['pid'])} ({said['command']}, since {clock})"
    except (ValueError, KeyError, TypeError):
        return "another process that is just starting"
