"""A daemon that falls silent while the database does not answer either."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import RuntimeUnavailable, StoreUnavailable
from engine.lifecycle import nodes as verbs
from engine.model.records import Caller
from engine.worker.context import Intake
from engine.worker.node.threads import NodeThreads
from tests.support.callers import by


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
    context: Any = SimpleNamespace(
        installation=None,
        runtime=SimpleNamespace(describe=silent),
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
    with pytest.raises(StoreUnavailable):
        threads._pass()
    assert not context.live and reports == []
    threads._pass()
    threads._pass()
    assert reports == ["n1"]
