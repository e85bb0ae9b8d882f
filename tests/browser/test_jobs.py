"""First page: live rows, search, pages, and alerts."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.chromium import Visiting
from tests.support.stage import HELLO, NODE, Stage


def _named(name: str, more: str = "") -> str:
    return HELLO.replace("say hello", name) + more


def _live(page: Page) -> None:
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.stayed = true")


def test_a_job_appears_runs_and_ends_on_the_page_without_a_reload(stage: Stage, visit: Visiting) -> None:
    stage.submit(_named("the one before"))
    page = visit(f"{stage.url}/").page
    _live(page)
    task = stage.submit(_named("ferry it over"))
    row = page.locator(f"#job-{task.job_id}")
    expect(row).to_contain_text("ferry it over")
    expect(row).to_contain_text("Pending")
    assert page.locator("#group-live tr[data-live]").first.get_attribute("id") == f"job-{task.job_id}"
    link = stage.claim(task, NODE)
    container = stage.start(link)
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("main")
    stage.end(link, container, result="over")
    expect(row).to_contain_text("Completed")
    assert page.evaluate("window.stayed") is True


def test_nothing_moves_under_the_pointer_new_jobs_wait_behind_a_button(stage: Stage, visit: Visiting) -> None:
    stage.submit(_named("under the pointer"))
    page = visit(f"{stage.url}/").page
    _live(page)
    page.locator("#jobs tr[data-live]").first.hover()
    task = stage.submit(_named("while somebody points"))
    button = page.locator("#newer button")
    expect(button).to_have_text("1 newer job")
    assert page.locator(f"#job-{task.job_id}").count() == 0
    button.click()
    expect(page.locator(f"#job-{task.job_id}")).to_be_visible()
    expect(button).to_be_hidden()


def test_a_row_that_changes_keeps_the_keyboard(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(_named("under the keyboard"))
    page = visit(f"{stage.url}/").page
    _live(page)
    name = page.locator(f"#job-{task.job_id} a.name")
    name.focus()
    stage.claim(task, NODE)
    expect(page.locator(f"#job-{task.job_id}")).to_contain_text("Running")
    expect(name).to_be_focused()


def test_the_address_filters_by_words_tag_and_state(stage: Stage, visit: Visiting) -> None:
    tagged = stage.submit(_named("needle in the hay", "tags: [rare]\n"))
    stage.submit(_named("hay alone"))
    page = visit(f"{stage.url}/?q=needle").page
    rows = page.locator("#jobs tr[data-live]")
    expect(rows).to_have_count(1)
    expect(page.locator(".search input")).to_have_value("needle")
    page.goto(f"{stage.url}/?q=tag:rare&state=PENDING")
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("id", f"job-{tagged.job_id}")
    expect(page.locator("#counts a[aria-current]")).to_contain_text("Pending")
    page.goto(f"{stage.url}/?q=tag:rare&state=FAILED")
    expect(rows).to_have_count(0)
    expect(page.locator("#jobs")).to_contain_text("none for tag:rare")


def test_an_id_in_the_search_opens_its_task(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(_named("found by its id"))
    page = visit(f"{stage.url}/").page
    page.keyboard.press("/")
    page.keyboard.type(task.job_id[:12])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{stage.url}/-/tasks/{task.id}")
    expect(page.locator("h1")).to_contain_text("found by its id")


def test_ended_jobs_have_pages(stage: Stage, visit: Visiting) -> None:
    for number in range(27):
        task = stage.submit(_named(f"paged {number}", "tags: [paged]\n"))
        link = stage.claim(task, NODE)
        stage.end(link, stage.start(link))
    page = visit(f"{stage.url}/?q=tag:paged").page
    expect(page.locator("#group-ended tr[data-live]")).to_have_count(25)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**page=2**")
    expect(page.locator("#group-ended tr[data-live]")).to_have_count(2)
    expect(page.locator("#jobs")).to_contain_text("paged 0")
    expect(page.get_by_role("link", name="Newer")).to_be_visible()


def test_a_queue_without_a_worker_is_an_alert_until_one_joins(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(_named("needs a gpu", "queue: gpu\n"))
    stage.send(task)
    page = visit(f"{stage.url}/").page
    alerts, row = page.locator("#alerts"), page.locator(f"#job-{task.job_id}")
    expect(alerts).to_contain_text("No worker serves queue gpu. 1 task waits for one.")
    expect(alerts).to_contain_text("celery -A engine worker -Q gpu")
    expect(row).to_contain_text("no worker serves queue gpu")
    _live(page)
    page.mouse.move(0, 0)
    stage.live("c3" * 16, "gpu@host-b", ("gpu",))
    expect(alerts).not_to_contain_text("queue gpu")
    expect(page.locator("#fleet")).to_contain_text("gpu@host-b")


def test_a_failure_is_an_alert_that_links_to_its_task(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(_named("that one failed"))
    link = stage.claim(task, NODE)
    stage.end(link, stage.start(link), 3, "exit code 3")
    page = visit(f"{stage.url}/").page
    expect(page.locator("#alerts")).to_contain_text("that one failed failed: main: exit code 3")
    page.locator("#alerts").get_by_role("link", name="that one failed").click()
    page.wait_for_url(f"**/-/tasks/{task.id}")


def test_an_empty_installation_shows_the_next_command_and_then_its_first_job(
    fresh_stage: Stage, visit: Visiting
) -> None:
    page = visit(f"{fresh_stage.url}/").page
    expect(page.locator("#empty")).to_contain_text("ferryman submit examples/hello.yaml --follow")
    expect(page.locator("#empty")).to_contain_text(f"{fresh_stage.url}/task")
    expect(page.locator("#fleet")).to_contain_text("No worker has joined yet")
    expect(page.locator("#live")).to_have_text("Live")
    task = fresh_stage.submit()
    expect(page.locator(f"#job-{task.job_id}")).to_be_visible()
