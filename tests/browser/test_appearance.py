"""Appearance and accessibility: narrow and wide, light and dark, by keyboard, and checked by axe."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from engine.wording.durations import duration
from tests.support.chromium import Visiting
from tests.support.stage import HELLO, NODE, Stage
from tests.support.waiting import wait_until

LONG = "a-name-without-a-place-to-break-" * 5


@pytest.fixture(scope="module")
def pages(stage: Stage) -> dict[str, str]:
    """Return one address of each kind of page."""
    failed = stage.submit(HELLO.replace("say hello", "looks failed") + "tags: [a, b]\n")
    link = stage.claim(failed, NODE)
    container = stage.start(link)
    stage.write(link, f"{LONG}\n", "short\n")
    stage.end(link, container, 1, f"exit code 1: {LONG}")
    runs = stage.submit(HELLO.replace("say hello", f"looks {LONG[:80]}"))
    link = stage.claim(runs, NODE)
    stage.start(link)
    stage.write(link, f"{LONG * 20}\n", "progress 1 %\rprogress 2 %\r")
    waits = stage.submit(HELLO.replace("say hello", "looks stuck") + "queue: nobody-serves-this-one\n")
    return {
        "jobs": "/?q=looks",
        "none": "/?q=nothing-fits",
        "failed": f"/-/tasks/{failed.id}",
        "runs": f"/-/tasks/{runs.id}",
        "waits": f"/-/tasks/{waits.id}",
        "job": f"/-/jobs/{failed.job_id}?all",
        "error": "/-/tasks/ffffffff",
    }


def test_no_page_scrolls_sideways(stage: Stage, visit: Visiting, pages: dict[str, str]) -> None:
    seen = visit(f"{stage.url}/")
    for name, path in pages.items():
        seen.page.goto(f"{stage.url}{path}")
        for width in (1200, 768, 390, 360):
            seen.page.set_viewport_size({"width": width, "height": 844})
            content_width = seen.page.evaluate("document.documentElement.scrollWidth")
            assert content_width <= width, f"{name} is {content_width} wide at {width}"
    seen.faults[:] = [fault for fault in seen.faults if "404" not in fault]


@pytest.mark.parametrize(
    ("scheme", "width", "background"),
    [("light", 390, "rgb(255, 255, 255)"), ("dark", 1200, "rgb(17, 20, 23)")],
)
def test_axe_finds_nothing_in_either_theme(
    stage: Stage, visit: Visiting, pages: dict[str, str], scheme: str, width: int, background: str
) -> None:
    seen = visit(f"{stage.url}/", color_scheme=scheme, width=width, reduced_motion="reduce")
    for name, path in pages.items() if scheme == "light" else list(pages.items())[:3]:
        seen.page.goto(f"{stage.url}{path}")
        assert seen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == background
        report = Axe().run(seen.page)
        assert report.violations_count == 0, f"{name}: {report.generate_report()}"
    seen.faults[:] = [fault for fault in seen.faults if "404" not in fault]


def test_the_keyboard_reaches_everything_that_the_pointer_does(
    stage: Stage, visit: Visiting, pages: dict[str, str]
) -> None:
    page = visit(f"{stage.url}/").page
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to content")
    expect(page.locator(":focus")).to_be_in_viewport()
    focused = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused.append(
            page.evaluate(
                "document.activeElement.closest('tr[data-live]')?.id ?? document.activeElement.className"
            )
        )
        if focused[-1].startswith("job-"):
            break
    assert focused[0] == "brand" and focused[-1].startswith("job-")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.closest('tr[data-live]')?.id") == focused[-1]
    page.keyboard.press("Enter")
    page.wait_for_url("**/-/tasks/**")


def test_states_have_a_shape_a_word_and_a_colour(
    stage: Stage, visit: Visiting, pages: dict[str, str]
) -> None:
    page = visit(f"{stage.url}{pages['failed']}").page
    state = page.locator("#chain .state").first
    expect(state).to_have_text("Failed")
    box = state.locator("svg use").evaluate(
        "use => { const b = use.getBoundingClientRect(); return [b.width, b.height] }"
    )
    assert min(box) > 8, "the symbol of sprite.svg is drawn"
    assert state.evaluate("node => getComputedStyle(node).color") == "rgb(189, 31, 45)"


def test_ages_tick_and_times_are_in_the_readers_zone(
    stage: Stage, visit: Visiting, pages: dict[str, str]
) -> None:
    page = visit(f"{stage.url}{pages['runs']}", timezone_id="Asia/Kolkata").page
    age = page.locator("#head .subtitle [data-since]").first
    before = age.inner_text()
    expect(age).not_to_have_text(before)
    time = page.locator("#facts time").first
    local = page.evaluate(
        "ms => new Date(ms).toLocaleTimeString('en-GB')", int(time.get_attribute("data-clock") or 0)
    )
    expect(time).to_have_text(local)
    assert (time.get_attribute("datetime") or "").endswith("Z")


def test_nothing_moves_for_readers_who_want_no_motion(
    stage: Stage, visit: Visiting, pages: dict[str, str]
) -> None:
    page = visit(f"{stage.url}{pages['runs']}", reduced_motion="reduce").page
    expect(page.locator(".spin").first).to_be_visible()
    # A part that is being replaced has no style for an instant.
    still = "[...document.querySelectorAll('.spin')].every(x => getComputedStyle(x).animationName === 'none')"
    wait_until(lambda: page.evaluate(still), 5)


# The label is "Copied" for only 1.5 s: on a busy machine polling may miss it.
_REMEMBER_LABELS = """() => {
    window.labels = [];
    const keep = changes => window.labels.push(...changes.map(change => change.target.getAttribute("aria-label")));
    new MutationObserver(keep).observe(document.body, { subtree: true, attributeFilter: ["aria-label"] });
}"""


def test_an_id_can_be_copied(stage: Stage, visit: Visiting, pages: dict[str, str]) -> None:
    page = visit(f"{stage.url}{pages['runs']}", permissions=["clipboard-read", "clipboard-write"]).page
    page.evaluate(_REMEMBER_LABELS)
    page.get_by_role("button", name="Copy task id").click()
    wait_until(lambda: "Copied" in page.evaluate("window.labels"), 15)
    assert page.evaluate("navigator.clipboard.readText()") == pages["runs"].split("/")[-1]


def test_scripts_and_server_format_durations_alike(stage: Stage, visit: Visiting) -> None:
    page = visit(f"{stage.url}/").page
    address = (page.locator("script").get_attribute("src") or "").replace("app.js", "time.js")
    durations = [
        0,
        7,
        949,
        950,
        2149,
        9949,
        9950,
        38_400,
        59_499,
        59_500,
        878_000,
        3_599_499,
        11_040_000,
        525_600_000,
    ]
    written = page.evaluate("async ([at, all]) => all.map((await import(at)).duration)", [address, durations])
    assert written == [duration(ms) for ms in durations]
