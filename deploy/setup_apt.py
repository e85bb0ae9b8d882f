"""Debian packages: installed if this user is root, otherwise named in an error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from setup_screen import Stop


def may_install() -> bool:
    """Return whether this user is root on a machine that has apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Sequence[str], log: str) -> None:
    """Install packages, with the output of apt-get in the file `log`. Raises Stop with the last lines of it.

    Nothing but the packages and their dependencies is installed. Another apt-get may hold the lock: wait for it.
    """
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    lock = ["-o", "DPkg::Lock::Timeout=120"]
    update = ["apt-get", *lock, "-q", "update"]
    fetch = ["apt-get", *lock, "-q", "-y", "install", "--no-install-recommends", *packages]
    with open(log, "w") as out:
        for command in (update, fetch):
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
            # If a source cannot be reached, apt-get may still know the package: the installation decides.
            if done.returncode and command is fetch:
                raise Stop(f"apt-get could not install {' '.join(packages)}:\n{last_lines(log)}")


def last_lines(path: str, most: int = 12) -> str:
    """Return the last lines of a command's output file, indented, for an error message."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join("    " + line for line in file.readlines()[-most:]).rstrip()
    except OSError as exc:
        return f"    (its output cannot be read: {exc})"
