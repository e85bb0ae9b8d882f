"""Debian packages: what is missing, installed where we may, named where we may not."""

import os
import shutil
import subprocess

from setup_screen import Stop


def may_install():
    """True for root on a machine that has apt."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages, log):
    """Install them, writing apt's own words to the file `log`. Raises Stop with its last lines.

    --no-install-recommends: only what is named. The lock is waited for: another apt may be at work.
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
            # A source that cannot be reached is no matter when the package is known already.
            if done.returncode and command is fetch:
                raise Stop(f"apt-get could not install {' '.join(packages)}:\n{last_lines(log)}")


def last_lines(path, most=12):
    """The end of a file that a command wrote, for the message of its failure."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join("    " + line for line in file.readlines()[-most:]).rstrip()
    except OSError as exc:
        return f"    (its output cannot be read: {exc})"
