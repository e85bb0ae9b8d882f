"""A daemon that falls silent while the database does not answer either, and one that answers with errors."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import ErrorAnswer, RuntimeUnavailable, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.model.records import Caller
from engine.worker.context import Intake
from engine.worker.node.threads import NodeThreads
from tests.support.callers import by


def threads_over(describe: Any) -> NodeThreads:
    """Return the threads of a live node whose daemon answers by `describe`."""
    context: Any = SimpleNamespace(
        installation=None,
        runtime=SimpleNamespace(describe=describe),
        intake=Intake(),
        sandboxes=SimpleNamespace(close=list),
        leaving=threading.Event(),
        draining=threading.Event(),
        runtime_in_doubt=threading.Event(),
        caller=by("n1"),
        node_id="n1",
        live=True,
    )
    threads = NodeThreads(context)
    threads._joined = True
    context.runtime_in_doubt.set()
    return threads


def test_the_silence_is_reported_once_the_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any) -> Any:
        raise RuntimeUnavailable("test")

    answers: list[StoreUnavailable | None] = [StoreUnavailable("test"), None]
    reports: list[str] = []

    def runtime_silent(installation: Any, caller: Caller) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        reports.append(caller.node_id)

    monkeypatch.setattr(verbs, "runtime_silent", runtime_silent)
    threads = threads_over(silent)
    with pytest.raises(StoreUnavailable):
        threads._pass()
    assert not threads._context.live and reports == []
    threads._pass()
    threads._pass()
    assert reports == ["n1"]


def test_error_answers_are_silence_only_when_nothing_else_comes_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["error", "error", "version", *["error"] * 8]
    now, reports = 1000.0, []

    def describe() -> str:
        if answers.pop(0) == "error":
            raise ErrorAnswer("a fault of the daemon")
        return "docker"

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(verbs, "runtime_silent", lambda _, caller: reports.append(caller.node_id))
    threads = threads_over(describe)
    monkeypatch.setattr(threads, "_adopter", SimpleNamespace(look=bool, retake_orphans=bool))
    for _ in range(7):
        threads._context.runtime_in_doubt.set()
        threads._pass()
        now += 10
        assert threads._context.live and not reports, "an answer is no silence"
    threads._context.runtime_in_doubt.set()
    threads._pass()
    assert reports == ["n1"] and not threads._context.live
    told = [r for r in caplog.records if r.levelno == logging.WARNING and "with an error" in r.getMessage()]
    assert len(told) == 2, "once for each time of errors"
