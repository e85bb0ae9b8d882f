"""Lanes of the reconciler: a failed pass stops no other, and a called lane waits."""

from __future__ import annotations

import threading
from typing import Any

from engine.errors import StoreUnavailable, WrongInstallation
from engine.reconcile.lanes import Lane
from tests.support.waiting import wait_until


def _failing(*errors: Exception) -> Any:
    left = list(errors)

    def run_pass() -> None:
        if left:
            raise left.pop(0)

    return run_pass


def test_a_failed_pass_stops_no_other() -> None:
    wrong, rounds = WrongInstallation("theirs", "ours"), []
    reported: list[Exception] = []
    failing = _failing(StoreUnavailable("test"), ValueError("a defect"), wrong)
    lane = Lane("test", [failing, lambda: rounds.append(1)], 0.01, reported.append)
    lane.start()
    wait_until(lambda: len(rounds) > 4, 5)
    lane.stop()
    lane.join(5)
    assert reported == [wrong] and not lane.is_alive()


def test_a_lane_with_a_call_runs_once_and_then_when_called() -> None:
    rounds: list[int] = []
    called = threading.Event()
    lane = Lane("test", [lambda: rounds.append(1)], 1.0, lambda exc: None, called)
    lane.start()
    wait_until(lambda: rounds, 5)
    called.set()
    wait_until(lambda: len(rounds) > 1, 5)
    lane.stop()
    lane.join(5)
    assert not lane.is_alive()
