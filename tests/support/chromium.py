"""Chromium for tests, and visits that record dialogs, errors and violations of the pages' policy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.databases import missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WATCH = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"""


@dataclass
class Visit:
    """A page in its own browser context; `faults` must be empty at the end."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def has(self, words: str) -> bool:
        """Return True if the page shows the words."""
        return bool(words in self.page.inner_text("body"))


def _note(visit: Visit, message: ConsoleMessage) -> None:
    """Record an error of the page.

    ERR_NETWORK_CHANGED is none: Chromium drops requests when another test's container adds a network interface.
    """
    if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
        visit.faults.append(message.text)


#: A function that opens an address, with the options of `visiting`.
Visiting = Callable[..., Visit]


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run the installed browser; without one, skip the test at home and fail in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium is not installed: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install -e .[dev]")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, width: int = 1200, height: int = 900, **context: Any) -> Iterator[Visit]:
    """Open a visit; `context` goes to Playwright (color_scheme, java_script_enabled …)."""
    opened = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB", **context)
    opened.set_default_timeout(20_000)
    try:
        page = opened.new_page()
        visit = Visit(page)
        if context.get("java_script_enabled", True):
            opened.add_init_script(_WATCH)
        page.on("console", lambda message: _note(visit, message))
        page.on("pageerror", lambda error: visit.faults.append(str(error)))
        page.on("dialog", lambda dialog: (visit.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        yield visit
    finally:
        opened.close()
