"""The plain worker in another network namespace, which NAMESPACE names: this process becomes it."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    within = ["nsenter", f"--net=/run/netns/{os.environ['NAMESPACE']}", "--"]
    plain = [sys.executable, "-m", "celery", "-A", "engine", "worker"]
    os.execvp(within[0], [*within, *plain, *sys.argv[1:]])
