"""Lost connection: the page says so, reconnects, and catches up."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.chromium import Visiting
from tests.support.stage import NODE, Stage
from tests.support.waiting import wait_until

_REMEMBER = """window.sources = [];
window.EventSource = class extends EventSource { constructor(at) { super(at); window.sources.push(this); } };"""
# Polled from outside: `wait_for_function` evaluates a string in the page, which the page's own policy forbids.
_OPEN = "window.sources.filter(source => source.readyState === EventSource.OPEN).length"
_HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_says_since_when_it_is_offline_and_catches_up(fresh_stage: Stage, visit: Visiting) -> None:
    stage = fresh_stage
    stage.live(NODE, "celery@host-a")
    task = stage.submit()
    link = stage.claim(task, NODE)
    container = stage.start(link)
    stage.write(link, "before\n")
    jobs, detail = visit(f"{stage.url}/"), visit(f"{stage.url}/-/tasks/{task.id}")
    for seen in (jobs, detail):
        expect(seen.page.locator("#live")).to_have_text("Live")
        seen.page.evaluate("window.stayed = true")
    stage.stop()
    for seen in (jobs, detail):
        expect(seen.page.locator("#offline")).to_contain_text("Not connected since")
        expect(seen.page.locator("#live")).to_have_text("Offline")
    stage.write(link, "meanwhile\n")
    stage.end(link, container, result="over")
    other = stage.submit()
    stage.serve()
    # By a script: the page may have reconnected, and hidden the button, a moment before.
    detail.page.evaluate("document.getElementById('reconnect').click()")
    expect(detail.page.locator("#head .subtitle")).to_contain_text("Completed")
    expect(detail.page.locator("#lines .log-row .text")).to_have_text(["before", "meanwhile"])
    expect(jobs.page.locator(f"#job-{task.job_id}")).to_contain_text("Completed")
    for seen in (jobs, detail):
        expect(seen.page.locator("#offline")).to_be_hidden()
        assert seen.page.evaluate("window.stayed") is True
        # Chromium logs every refused connection; here they are expected.
        seen.faults[:] = [fault for fault in seen.faults if "ERR_" not in fault]
    expect(jobs.page.locator(f"#job-{other.job_id}")).to_be_visible()


def test_a_page_in_the_background_holds_no_connection(stage: Stage, visit: Visiting) -> None:
    stage.submit()  # an empty page reloads itself with its first job
    page = visit(f"{stage.url}/").page
    page.add_init_script(_REMEMBER)
    page.reload()
    wait_until(lambda: page.evaluate(_OPEN) == 1, 15)
    page.evaluate(_HIDE, True)
    assert page.evaluate(_OPEN) == 0
    task = stage.submit()
    page.evaluate(_HIDE, False)
    wait_until(lambda: page.evaluate(_OPEN) == 1, 15)
    expect(page.locator(f"#job-{task.job_id}")).to_be_visible()
