"""The plain worker in the network namespace that NAMESPACE names; this process becomes the worker."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    within = ["nsenter", f"--net=/run/netns/{os.environ['NAMESPACE']}", "--"]
    plain = [sys.executable, "-m", "celery", "-A", "engine", "worker"]
    os.execvp(within[0], [*within, *plain, *sys.argv[1:]])
