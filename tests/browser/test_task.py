"""Page of a task: links, attempts, events, and the log as it is written."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.chromium import Visiting
from tests.support.stage import HELLO, NODE, OTHER, Stage

CONVERT = """name: convert a video
volumes: [/tmp]
pre: [{name: download, image: "alpine:3.18.3", cmd: [wget, x]}]
image: jrottenberg/ffmpeg:3.4-scratch
post: [{name: upload, image: "alpine:3.18.3", cmd: [wget, y]}]
"""


def test_links_attempts_and_events_follow_the_task_to_its_end(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(CONVERT)
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    chain = page.locator("#chain")
    expect(chain).to_contain_text(
        "Not started yet: 3 links to run (pre 0 (download) → main → post 2 (upload))."
    )
    link = stage.claim(task, NODE)
    for index in range(3):
        container = stage.start(link)
        row = chain.locator("tbody tr").nth(index)
        expect(row).to_contain_text("Running")
        expect(row).to_contain_text(container[:12])
        done = stage.end(link, container, result="over" if index == 1 else None)
        expect(row).to_contain_text("Completed")
        if done.next_index is not None:
            link = stage.go_on(link.token, done.next_index, NODE)
    expect(page.locator("#head .subtitle")).to_contain_text("Completed")
    expect(page.locator("#head .result pre")).to_have_text("over")
    expect(page.locator("#attempts tbody tr")).to_have_count(1)
    events = page.locator("#events tbody tr")
    expect(events.first).to_contain_text("RUNNING → COMPLETED")
    expect(events.last).to_contain_text("PENDING")
    assert events.count() >= 9


def test_the_log_is_followed_as_it_is_written(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(HELLO.replace("say hello", "a long tale"))
    link = stage.claim(task, NODE)
    container = stage.start(link)
    stage.write(link, "before the page\n")
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    rows = page.locator("#lines .log-row")
    expect(rows).to_have_count(1)
    stage.write(link, "line two\n", "begun, ")
    expect(rows).to_have_count(3)
    stage.write(link, "ended\n", "10 %\r50 %\r", "\x1b[32m100 %\x1b[0m\r\n")
    expect(rows.nth(2).locator(".text")).to_have_text("begun, ended")
    expect(rows.nth(3).locator(".text")).to_have_text("100 %")
    expect(page.locator("#lines .link-heading")).to_have_text("main")
    stage.end(link, container)
    expect(page.locator("#head .subtitle")).to_contain_text("Completed")
    expect(page.locator("#follow")).to_be_hidden()
    expect(rows).to_have_count(4)
    page.reload()
    texts = [text.strip() for text in rows.locator(".text").all_inner_texts()]
    assert texts == ["before the page", "line two", "begun, ended", "100 %"]


def test_scrolling_up_stops_following_and_400_rows_are_kept(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(HELLO.replace("say hello", "many lines"))
    link = stage.claim(task, NODE)
    stage.start(link)
    stage.write(link, *(f"line {n}\n" for n in range(100)))
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    follow, box = page.locator("#follow"), page.locator("#lines")
    last = box.locator(".log-row").last
    expect(last).to_be_in_viewport()
    box.hover()
    page.mouse.wheel(0, -600)
    expect(follow).to_have_text("Follow f")
    at = box.evaluate("box => box.scrollTop")
    stage.write(link, *(f"more {n}\n" for n in range(600)))
    expect(box).to_contain_text("more 599")
    assert box.locator("> *").count() <= 400
    assert box.evaluate("box => box.scrollTop + box.clientHeight < box.scrollHeight")
    assert box.evaluate("box => box.scrollTop") <= at
    page.keyboard.press("f")
    expect(follow).to_have_attribute("aria-pressed", "true")
    stage.write(link, "the newest\n")
    expect(box.get_by_text("the newest")).to_be_in_viewport()


def test_a_failed_task_shows_the_reason_the_link_and_its_last_lines(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(CONVERT.replace("convert a video", "out of memory"))
    link = stage.claim(task, NODE)
    stage.end(link, stage.start(link))
    link = stage.go_on(link.token, 1, NODE)
    container = stage.start(link)
    stage.write(link, "frame 1\n", "could not allocate 94m\n", stream=2)
    stage.end(link, container, 137, "out of memory: limit 512m reached")
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    box = page.locator("#head .failure")
    expect(box).to_contain_text("main: out of memory: limit 512m reached")
    expect(box).to_contain_text("main jrottenberg/ffmpeg:3.4-scratch ended with exit code 137")
    expect(box).to_contain_text("No retries are configured.")
    expect(box.locator("pre")).to_contain_text("could not allocate 94m")
    rows = page.locator("#chain tbody tr")
    expect(rows.nth(1)).to_contain_text("Failed")
    expect(rows.nth(2)).to_contain_text("Skipped")


def test_a_retry_is_shown_with_the_attempt_before_it(stage: Stage, visit: Visiting) -> None:
    text = HELLO.replace("say hello", "flaky") + "retry: {limit: 2, initialDelay: 20m}\n"
    task = stage.submit(text)
    link = stage.claim(task, NODE)
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    stage.end(link, stage.start(link), 1, "exit code 1")
    head = page.locator("#head")
    expect(head).to_contain_text("attempt 2 of 3")
    expect(head).to_contain_text("Attempt 1 failed. main: exit code 1")
    expect(page.locator("#attempts tbody tr").first).to_contain_text("1 of 3")
    expect(page.locator("#attempts tbody tr.past")).to_contain_text("main")


def test_an_adoption_has_a_mark_of_its_own_colour(stage: Stage, visit: Visiting) -> None:
    stage.live(OTHER, "dies@host-a")
    task = stage.submit(HELLO.replace("say hello", "adopted one"))
    link = stage.claim(task, OTHER)
    stage.start(link)
    page = visit(f"{stage.url}/-/tasks/{task.id}").page
    stage.lapse(OTHER)
    page.reload()
    expect(page.locator("#head .notice")).to_contain_text("The node of this task does not answer.")
    stage.adopt(task, NODE)
    mark = page.locator("#head h1 .tag.repair")
    expect(mark).to_have_text("adopted")
    expect(page.locator("#events .tag.repair")).to_have_text("repair")
    expect(page.locator("#head .subtitle")).to_contain_text("delivery 2")


def test_the_pages_are_complete_without_scripts(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(CONVERT.replace("convert a video", "no scripts"))
    link = stage.claim(task, NODE)
    stage.start(link)
    stage.write(link, "plain words\n")
    page = visit(f"{stage.url}/?q=scripts", java_script_enabled=False).page
    page.get_by_role("link", name="no scripts").click()
    expect(page.locator("#chain")).to_contain_text("download")
    expect(page.locator("#lines")).to_contain_text("plain words")
    expect(page.locator("#events")).to_contain_text("claimed")
    expect(page.locator("#follow")).to_be_hidden()
    page.get_by_text("Spec as submitted").click()
    expect(page.locator("details pre")).to_contain_text("volumes:")


def test_a_job_has_a_page_of_its_own(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(HELLO.replace("say hello", "one of a job"))
    page = visit(f"{stage.url}/-/jobs/{task.job_id[:8]}?all").page
    expect(page.locator("#tasks")).to_contain_text("one of a job")
    link = stage.claim(task, NODE)
    stage.end(link, stage.start(link))
    expect(page.locator("#head .subtitle")).to_contain_text("Completed")


def test_an_unknown_id_has_an_error_page(stage: Stage, visit: Visiting) -> None:
    seen = visit(f"{stage.url}/")
    answer = seen.page.goto(f"{stage.url}/-/tasks/ffffffff")
    assert answer is not None and answer.status == 404
    expect(seen.page.locator("h1")).to_have_text("There is no job or task ffffffff")
    # Chromium logs every 404.
    seen.faults[:] = [fault for fault in seen.faults if "404" not in fault]
