"""Launcher of a command that ends when its parent ends: `python -I -S die_with_parent.py PARENT_PID COMMAND…`.

A supervisor killed by kill -9 cannot signal its children, so the kernel does (Linux: prctl PR_SET_PDEATHSIG,
which survives exec). Each child ends in order on SIGTERM: workers detach, the API finishes its answers, the broker
writes its file. On other systems the command outlives its parent.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGTERM when the parent dies, then exec the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before prctl: no signal would ever end this process.
            sys.exit(0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
