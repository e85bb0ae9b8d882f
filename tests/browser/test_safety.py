"""Safety of the pages: foreign text stays text, and nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.support.chromium import Visiting
from tests.support.stage import HELLO, NODE, Stage

HOSTILE = (
    "<script>window.hit = 1; alert(1)</script>",
    "<img src=x onerror='window.hit = 1'>",
    "\"><svg onload='window.hit = 1'>",
    "' onmouseover='window.hit = 1' x='",
    "</script></title></textarea><iframe src=javascript:alert(1)>",
    "{{ 7 * 7 }}{% raw %}${7 * 7}",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe\u2066\u200f",
    "\ud800 half a pair",
)
OURS = {"app.js"}


def _check(page: Page, shown: str | None = None) -> None:
    """Check that no text became an element: our pages have none of these, and only our script."""
    assert page.evaluate("window.hit") is None
    assert (
        page.locator("img, iframe, object, embed, style, [onload], [onerror], [onmouseover], [style]").count()
        == 0
    )
    sources = page.locator("script").evaluate_all("all => all.map(x => x.src.split('/').pop())")
    assert set(sources) == OURS
    text = page.inner_text("body")
    assert not any(character in text for character in "\u202e\u2066\u200f")
    if shown is not None:
        assert shown in text


@pytest.mark.parametrize("first", range(3))
def test_hostile_text_stays_text_everywhere(stage: Stage, visit: Visiting, first: int) -> None:
    text = " ".join(HOSTILE[first::3])
    storable = text.encode("utf-8", "replace").decode()
    task = stage.submit(HELLO, name=storable, description=storable, tags=(storable,))
    link = stage.claim(task, NODE)
    container = stage.start(link)
    seen = visit(f"{stage.url}/-/tasks/{task.id}")
    page = seen.page
    expect(page.locator("#live")).to_have_text("Live")
    stage.write(link, f"{text}\n", f"\x1b]0;{text}\x07after\n")
    expect(page.locator("#lines .log-row")).to_have_count(2)
    _check(page, storable[:20] if storable.isascii() else None)
    stage.end(link, container, 1, storable)
    expect(page.locator("#head .failure")).to_be_visible()
    _check(page)
    for path in (f"/-/tasks/{task.id}", f"/-/jobs/{task.job_id}?all", "/"):
        page.goto(f"{stage.url}{path}")
        _check(page)


def test_a_long_name_is_shortened_and_does_not_widen_the_page(stage: Stage, visit: Visiting) -> None:
    task = stage.submit(HELLO, name="x" * 10_000)
    page = visit(f"{stage.url}/", width=390).page
    for path in ("/", f"/-/tasks/{task.id}", f"/-/jobs/{task.job_id}?all"):
        page.goto(f"{stage.url}{path}")
        assert "x" * 50 in page.inner_text("body")
        assert "x" * 400 not in page.inner_text("main")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_search_is_shown_again_as_text(stage: Stage, visit: Visiting) -> None:
    page = visit(f"{stage.url}/").page
    for words in (HOSTILE[0], HOSTILE[2], HOSTILE[5]):
        page.locator(".search input").fill(words)
        page.keyboard.press("Enter")
        page.wait_for_url("**q=**")
        expect(page.locator(".search input")).to_have_value(" ".join(words.split()))
        _check(page)


@pytest.mark.parametrize(
    "path", ["/", "/-/tasks/{id}", "/-/jobs/{job}?all", "/-/parts/summary", "/-/tasks/ffff"]
)
def test_the_policy_of_every_page_forbids_what_it_does_not_need(stage: Stage, path: str) -> None:
    task = stage.submit()
    address = f"{stage.url}{path.format(id=task.id, job=task.job_id)}"
    try:
        answer = urllib.request.urlopen(address, timeout=5)
    except urllib.error.HTTPError as exc:
        answer = exc
    with answer:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        text = answer.read().decode()
    assert "http://" not in text.replace(stage.url, "").replace("http://www.w3.org/", "")
    assert "https://" not in text
    assert "<style" not in text and " style=" not in text and " onclick=" not in text


def test_the_api_answers_json_to_browsers_too(stage: Stage) -> None:
    task = stage.submit()
    for path in (f"/tasks/{task.id}", f"/jobs/{task.job_id}"):
        request = urllib.request.Request(f"{stage.url}{path}", headers={"Accept": "text/html,*/*;q=0.8"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert json.load(answer)["name"] == "say hello"
