"""Verbs at the same time: started at the same moment, or one held inside its transaction while the other begins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from engine.store import events
from tests.support.verb_world import World
from tests.support.waiting import wait_until

#: No wait of a race is longer.
SECONDS = 20


def at_once(pool: ThreadPoolExecutor, *verbs: Callable[[], Any]) -> list[Any]:
    """Call each in a thread of its own, all started at the same moment; return the results in order."""
    start = threading.Barrier(len(verbs))

    def run(verb: Callable[[], Any]) -> Any:
        start.wait(SECONDS)
        return verb()

    return [done.result(SECONDS) for done in [pool.submit(run, verb) for verb in verbs]]


class Held:
    """Verb in a thread, held before it commits: at its event, when it has taken all locks."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor, verb: Callable[[], Any]
    ) -> None:
        self._go, inside = threading.Event(), threading.Event()
        whose: list[threading.Thread] = []

        def holding(add: Callable[..., None]) -> Callable[..., None]:
            def held(*args: Any, **kwargs: Any) -> None:
                if threading.current_thread() in whose:
                    inside.set()
                    assert self._go.wait(SECONDS)
                add(*args, **kwargs)

            return held

        def run() -> Any:
            whose.append(threading.current_thread())
            return verb()

        for name in ("add", "add_all"):
            monkeypatch.setattr(events, name, holding(getattr(events, name)))
        self._done: Future[Any] = pool.submit(run)
        assert inside.wait(SECONDS)

    def release(self) -> Any:
        """Let it commit; its answer."""
        self._go.set()
        return self._done.result(SECONDS)


def waits_for_a_lock(world: World) -> None:
    """Wait until one connection of this database waits for a lock of another."""
    name = world.db.url.database

    def waiting() -> int:
        with world.db.read() as c:
            return int(
                c.exec_driver_sql(
                    "SELECT count(*) FROM pg_stat_activity"
                    f" WHERE datname = '{name}' AND wait_event_type = 'Lock'"
                ).scalar()
                or 0
            )

    wait_until(waiting, SECONDS)
