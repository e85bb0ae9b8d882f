"""A real Chromium, and what one visit of its met: dialogs, errors, breaches of the pages' policy."""

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
    """A page in a context of its own. `faults` is what must not be there at the end."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def has(self, words: str) -> bool:
        """The words are on the page, in sight."""
        return bool(words in self.page.inner_text("body"))


def _note(visit: Visit, said: ConsoleMessage) -> None:
    """An error is a fault of the page, but for a request that Chromium gave up as an interface of this host came or
    went: each container that another test starts is one."""
    if said.type == "error" and "ERR_NETWORK_CHANGED" not in said.text:
        visit.faults.append(said.text)


#: Opens an address, with the options of `visiting`.
Visiting = Callable[..., Visit]


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """The browser that is installed; skips at home and fails in CI when there is none."""
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
    """One visit; `context` goes to Playwright (color_scheme, java_script_enabled …)."""
    opened = browser.new_context(viewport={"width": width, "height": height}, locale="en-GB", **context)
    opened.set_default_timeout(20_000)
    try:
        page = opened.new_page()
        visit = Visit(page)
        if context.get("java_script_enabled", True):
            opened.add_init_script(_WATCH)
        page.on("console", lambda said: _note(visit, said))
        page.on("pageerror", lambda error: visit.faults.append(str(error)))
        page.on("dialog", lambda dialog: (visit.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        yield visit
    finally:
        opened.close()
