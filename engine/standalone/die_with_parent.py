"""Runs a command that ends when its parent does: `python -I -S tether.py PARENT_PID COMMAND…`.

A supervisor that dies by kill -9 can tell its children nothing, so the kernel does (Linux: prctl
PR_SET_PDEATHSIG; it outlives exec). SIGTERM is what each of them takes as an orderly end: workers detach,
the API finishes its answers, the broker writes its file. Elsewhere the command runs untethered.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before the tie was made: nobody would ever end this process.
            sys.exit(0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
