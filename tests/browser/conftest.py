"""Fixtures: a browser, an installation, and visits whose faults fail the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.chromium import Visit, running_chromium, visiting
from tests.support.stage import NODE, Stage, staged

# Far above what a page needs: the machine may run other tests too.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Chromium for one module: Playwright keeps an event loop in this thread."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Serve an installation with one worker for all tests; each test names its own tasks."""
    with staged(str(tmp_path_factory.mktemp("stage"))) as stage:
        stage.live(NODE, "celery@host-a")
        yield stage


@pytest.fixture
def fresh_stage(tmp_path: Path) -> Iterator[Stage]:
    """Serve an empty installation for one test."""
    with staged(str(tmp_path)) as stage:
        yield stage


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens visits; at the end none of them may have a fault."""
    with ExitStack() as stack:
        opened: list[Visit] = []

        def open_one(address: str, **options: Any) -> Visit:
            visit = stack.enter_context(visiting(browser, **options))
            opened.append(visit)
            visit.page.goto(address)
            return visit

        yield open_one
        assert [fault for visit in opened for fault in visit.faults] == []
