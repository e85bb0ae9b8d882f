"""Private places: directories, files and sockets that no other account may own, because they are trusted.

Their mode alone proves little: another account that owns a file decides what is in it. Root is trusted as it is.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from engine.errors import SettingsError

_OTHERS = 0o077
#: The first line of the map in a process that is in no user namespace.
_WHOLE_MAP = ["0", "0", "4294967295"]


def make_directory(path: Path) -> None:
    """Make a directory, or close one that exists, to all other accounts (0700). Raises SettingsError, OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = path.stat()
    if reason := foreign_owner(about):
        raise SettingsError(f"{path} {reason}: choose another directory (FERRYMAN_DATA_DIR), or chown it")
    if about.st_mode & _OTHERS:
        path.chmod(0o700)


def read_secret(path: Path, most_bytes: int = 1 << 20) -> str:
    """Return the text of a file that only this account or root can have written, and no other can read.

    Raises SettingsError for a file not to be trusted, OSError, ValueError for a text that is not UTF-8 or too long.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise SettingsError(f"{path} is not a regular file: remove it")
        if reason := foreign_owner(about):
            raise SettingsError(f"{path} {reason}: remove it, or chown it")
        if about.st_mode & _OTHERS:
            raise SettingsError(
                f"{path} holds the broker's password and is readable by other users: chmod 600 {path}"
            )
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"{path} has more than {most_bytes} bytes")
    return data.decode()


def foreign_owner(about: os.stat_result) -> str:
    """Return in words that another account owns the place, "" when this account or root does."""
    if about.st_uid in _trusted():
        return ""
    expected = " or ".join(dict.fromkeys([_name(os.geteuid()), "root"]))
    return f"belongs to {_name(about.st_uid)}, expected {expected}"


def _trusted() -> set[int]:
    trusted = {0, os.geteuid()}
    try:
        is_mapped = Path("/proc/self/uid_map").read_text().split() != _WHOLE_MAP
        if is_mapped:
            # In a user namespace (a worker in a rootless container) the host's root has this number.
            trusted.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    except OSError:
        # Without /proc there are no user namespaces to look at.
        return trusted
    return trusted


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
