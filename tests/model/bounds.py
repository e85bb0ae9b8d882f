"""Bounds: small worlds, each with one kind of trouble."""

from __future__ import annotations

from typing import Any

from tests.model.state import Bound

_ALONE: dict[str, Any] = {"nodes": (1,), "slots": (1,)}
#: Two threads of one process.
_THREADS: dict[str, Any] = {"nodes": (1,), "slots": (1, 1)}
#: A node on each of two daemons; two on the first and one on the second.
_APART: dict[str, Any] = {"nodes": (1, 2)}
_THREE: dict[str, Any] = {"nodes": (1, 1, 2), "slots": (1, 2, 3)}
_KLD = ("kill", "lapse", "host")

#: What `python -m tests.model` explores; the largest last, for they are begun first.
CLEAN = (
    Bound("outbox", faults=0, consume=True, clean=True, **_ALONE),
    Bound("byhand", links=2, faults=2, kinds=("hand", "wipe", "stray"), **_ALONE),
    Bound("links3", links=3, faults=0, **_THREADS),
    Bound("late1", kinds=("kill", "leave"), timeout=True, **_ALONE),
    Bound("leaves", kinds=("leave",), cancels=1),
    Bound("refuse", links=2, faults=2, kinds=("refuse", "kill"), **_ALONE),
    Bound("refuse2", faults=2, kinds=("refuse", "lapse"), max_refusals=1),
    Bound("late", kinds=_KLD, timeout=True, **_APART),
    Bound("cancel", cancels=1, clean=True),
    Bound("retry", fail=True, clean=True),
    Bound("drain", faults=2, kinds=("leave", "kill"), max_crashes=3, **_THREADS),
    Bound("slots", links=2, kinds=("kill", "lapse", "stray"), **_THREADS),
    Bound("hasty", links=2, kinds=("kill", "lapse"), hasty=True, **_THREADS),
    Bound("docker", faults=2, kinds=("docker", "kill"), **_APART),
    Bound("sweep", cancels=1, clean=True, fine=True),
    Bound("hand", links=2, faults=2, kinds=("kill", "hand")),
    Bound("join", kinds=("kill", "lapse", "leave"), absent=(2,), **_THREE),
    Bound("adopt", faults=2, max_crashes=3),
)
#: The larger ones; with --more.
MORE = (
    Bound("retry2", kinds=_KLD, fail=True, **_APART),
    Bound("cancel3", kinds=_KLD, cancels=1, **_THREE),
    Bound("twins", faults=2, kinds=("kill",), reconcilers=2, max_crashes=3, **_APART),
    Bound("host", faults=2, kinds=("host", "lapse"), max_crashes=3, **_APART),
    Bound("chain", links=2, kinds=_KLD, reconcilers=2, **_THREE),
    Bound("poison", faults=3, kinds=("kill",), long_holds=1),
    Bound("drain2", faults=2, kinds=("leave", "kill"), max_crashes=3, **_APART),
    Bound("docker2", faults=2, kinds=("docker", "kill", "lapse"), **_APART),
    Bound("poison2", faults=3, kinds=("lapse",), long_holds=1),
    Bound("retry3", kinds=_KLD, fail=True, **_THREE),
    Bound("twins2", faults=2, kinds=("lapse",), reconcilers=2, max_crashes=3, **_APART),
    Bound("back", faults=2, kinds=("host",), fail=True, max_crashes=3, **_APART),
    Bound("docker3", faults=2, kinds=("docker", "kill"), **_THREE),
    Bound("chain2", links=2, faults=2, kinds=("kill", "host"), **_APART),
)
