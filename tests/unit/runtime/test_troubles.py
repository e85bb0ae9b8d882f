"""Memory of what cannot be removed: told once, tried ever more rarely, bounded."""

from __future__ import annotations

import itertools
import time

import pytest

from engine.runtime.docker import troubles
from engine.runtime.docker.troubles import Troubles


def test_a_trouble_is_told_once_and_again_when_its_words_change(caplog: pytest.LogCaptureFixture) -> None:
    memory = Troubles()
    for number in range(3):
        memory.failed("volume", "v", f"mount {number} of container 0123456789ab{number} is busy")
    assert [record.getMessage() for record in caplog.records] == [
        "volume v stays for now: mount 0 of container 0123456789ab0 is busy"
    ]
    memory.failed("volume", "v", "the driver is gone")
    memory.failed("container", "v", "the driver is gone")
    memory.ended("volume", "v")
    memory.failed("volume", "v", "the driver is gone")
    assert len(caplog.records) == 4


def test_a_trouble_is_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    memory, tries = Troubles(), []
    while now < 1000.0 + 3600:
        if memory.may_try("volume", "v"):
            tries.append(now - 1000.0)
            memory.failed("volume", "v", "busy")
        now += 5.0
    assert tries[:8] == [0.0, 5.0, 15.0, 35.0, 75.0, 155.0, 315.0, 635.0]
    assert {later - sooner for sooner, later in itertools.pairwise(tries[7:])} == {600.0}
    assert memory.may_try("volume", "another")
    memory.ended("volume", "v")
    assert memory.may_try("volume", "v")


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "MOST", 3)
    memory = Troubles()
    for name in ("a", "b", "c", "a", "d"):
        memory.failed("volume", name, "busy")
    assert not memory.may_try("volume", "a"), "the last that failed is remembered"
    assert memory.may_try("volume", "b"), "the one that is the longest unchanged is forgotten"
