"""One browser and one installation for the folder; a visit that is checked for faults when its test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.chromium import Visit, running_chromium, visiting
from tests.support.stage import NODE, Stage, staged

# Far above what a page takes: a machine that tests other things as well is slow.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The real one. It keeps an event loop in this thread, so it does not outlive its module."""
    with running_chromium() as found:
        yield found


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An installation with one worker, shared: a test names its own tasks."""
    with staged(str(tmp_path_factory.mktemp("stage"))) as found:
        found.live(NODE, "celery@host-a")
        yield found


@pytest.fixture
def fresh_stage(tmp_path: Path) -> Iterator[Stage]:
    """An installation without a row, for one test."""
    with staged(str(tmp_path)) as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens visits; none of them may have met an error, a dialog or a breach of the policy."""
    with ExitStack() as stack:
        opened: list[Visit] = []

        def open_one(address: str, **options: Any) -> Visit:
            found = stack.enter_context(visiting(browser, **options))
            opened.append(found)
            found.page.goto(address)
            return found

        yield open_one
        assert [fault for one in opened for fault in one.faults] == []
