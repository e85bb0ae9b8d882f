"""The data directory: private, locked by one stand-alone at a time, with the `run.json` that workers read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from engine.errors import DataDirInUse, SettingsError
from engine.settings import private

RUN_FILE = "run.json"
_LOCK_FILE = "lock"
_TOKEN_FILE = "api-token"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Create the directory (0700) and lock it against other stand-alones.

    The kernel releases the lock however this process ends, so a stale lock cannot exist.
    Raises DataDirInUse with the process that holds the lock; SettingsError when the directory cannot be used.
    """
    create_private(path)
    with open(os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirInUse(
                f"{with_tilde(path)} is in use by {_lock_holder(file)}; stop it, or choose another with --data-dir"
            ) from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "command": "ferryman standalone", "since": time.time()}, file)
        file.flush()
        yield


def create_private(path: Path) -> None:
    """Create the directory and deny others access: it contains tasks' data and the broker's password."""
    try:
        private.make_directory(path)
    except OSError as exc:
        raise SettingsError(
            f"cannot use the data directory {path} ({exc.strerror}); set --data-dir or FERRYMAN_DATA_DIR"
        ) from exc


def write_run_file(path: Path, content: dict[str, Any]) -> None:
    """Write the addresses of broker, database and API for processes of this user; the file is 0600."""
    write_private(path / RUN_FILE, json.dumps(content))


def write_private(path: Path, text: str) -> None:
    """Write a file (0600) whole: a reader sees the old text or the new one."""
    new_file = path.with_name(f"{path.name}.new")
    new_file.unlink(missing_ok=True)
    with open(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new_file.rename(path)


def api_token(path: Path) -> str:
    """Return the token of the API, which stays the same over restarts; the first call makes one of 256 random bits."""
    file = path / _TOKEN_FILE
    if not file.exists():
        write_private(file, secrets.token_urlsafe(32))
    return file.read_text().strip()


def remove_run_file(path: Path) -> None:
    """Remove the file: the stand-alone does not run any more."""
    (path / RUN_FILE).unlink(missing_ok=True)


def with_tilde(path: Path) -> str:
    """Return the path as people write it, with ~ for the home directory."""
    text, home = str(path), os.path.expanduser("~")
    return "~" + text[len(home) :] if home != "/" and text.startswith(home + "/") else text


def _lock_holder(file: IO[str]) -> str:
    try:
        holder = json.loads(file.read(4096))
        since = time.localtime(float(holder["since"]))
        is_today = time.strftime("%Y-%m-%d", since) == time.strftime("%Y-%m-%d")
        clock = time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", since)
        return f"process {int(holder['pid'])} ({holder['command']}, since {clock})"
    except (ValueError, KeyError, TypeError):
        return "another process, which is just starting"
