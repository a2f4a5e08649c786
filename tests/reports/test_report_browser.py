"""The report in a real browser, from a file: address, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from curate.reports.audit_rows import LEAST_KEPT
from curate.reports.html import write_report
from tests.audit.drawn_audit import draw_audit
from tests.reports.browser import open_chromium
from tests.reports.test_power_and_budget import POWER, changed

HOSTILE = (
    '<img src=x onerror="window.hacked=1">.png',
    "</script><script>window.hacked=1</script>.png",
    '"><svg onload=window.hacked=1>.png',
    "{{ 7*7 }}&amp;\u202egnp.exe.png",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    yield from open_chromium()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that fails the test on any request beyond its own file, console error or exception."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(10_000)
    tab = context.new_page()
    tab.faults = []
    tab.on("console", lambda message: message.type in ("error", "warning") and tab.faults.append(message.text))
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or tab.faults.append(r.url))
    yield tab
    faults = tab.faults
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    audit = changed(draw_audit(folder), expected_precision=dict.fromkeys(range(40), 0.5))
    return write_report(folder / "audit", replace(audit, run=audit.run | {"power": POWER}))


def shown(page: Any) -> int:
    return page.locator("#cards .card:visible").count()


def loaded_width(image: Any) -> int:
    """Return the width of a picture in px once it is loaded.

    It is scrolled to until then: cards that are filled in push it away, and a lazy picture out of sight never loads.
    """
    loaded = "image => { image.scrollIntoView({ block: 'center' }); return image.complete && image.naturalWidth; }"
    return int(image.page.wait_for_function(loaded, arg=image.element_handle()).json_value())


def test_the_page_opens_from_a_file_without_network_or_console_errors(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    assert "8 of 40 images are flagged" in page.locator("h1").inner_text()
    assert shown(page) == 8
    picture = page.locator(".card .photo").first
    assert loaded_width(picture) == 96
    assert "20 % (10 % to 30 %)" in page.locator(".tiles").inner_text()


def test_the_kept_images_of_the_highest_scores_are_shown_with_them(page: Any, report: Path):
    page.goto(report.as_uri() + "#kept-to-review")
    cards = page.locator("#kept-cards .card")
    assert cards.count() == LEAST_KEPT
    assert "score 0." in cards.first.inner_text()
    picture = cards.first.locator(".photo")
    assert loaded_width(picture) == 96
    assert cards.first.locator(".views tr").count() == 3
    assert loaded_width(cards.first.locator(".overlay")) == 24


def test_thumbnails_beyond_the_budget_lie_beside_the_page_and_are_shown(page: Any, tmp_path: Path):
    audit = draw_audit(tmp_path)
    report = write_report(tmp_path / "audit", audit, inline_bytes=9000)
    assert len(list((tmp_path / "audit" / "report-thumbnails").iterdir())) > 20
    page.goto(report.as_uri() + "#flagged")
    page.locator(".card").last.scroll_into_view_if_needed()
    beside = page.locator('.card img[src^="report-thumbnails/"]').last
    beside.scroll_into_view_if_needed()
    assert loaded_width(beside) == 96


def test_filters_narrow_the_cards_and_reset_brings_them_back(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    page.select_option("#by-verdict", "near_ood")
    assert shown(page) == 2
    page.select_option("#by-verdict", "")
    page.select_option("#by-label", label="forged")
    assert shown(page) == 4
    page.fill("#by-text", "00003")
    expect(page.locator("#cards .card:visible")).to_have_count(1)
    assert page.locator("#shown").inner_text() == "1 of 8 images"
    page.fill("#by-text", "nowhere")
    page.wait_for_selector("#nothing:not([hidden])")
    page.click("button[type=reset]")
    expect(page.locator("#cards .card:visible")).to_have_count(8)
    page.select_option("#by-view", "student")
    assert shown(page) == 3


def test_sorting_reorders_the_cards(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    first = page.locator(".card h3 bdi").first
    assert first.text_content() == "cast/00000.png"
    page.select_option("#sort", "lowest")
    assert first.text_content() == "forged/00007.png"


def test_the_slider_fades_the_map_and_all_maps_follow_the_common_one(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    card = page.locator(".card").first
    card.locator(".overlay-slider").fill("0")
    assert card.locator(".overlay").evaluate("overlay => overlay.style.opacity") == "0"
    assert card.locator(".box").is_hidden()
    page.locator("#all-overlays").fill("100")
    assert set(page.locator(".overlay").evaluate_all("overlays => overlays.map(o => o.style.opacity)")) == {"1"}


def test_a_dot_shows_its_image_on_hover_and_by_arrow_keys_and_leads_to_its_card(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    page.locator("#dots [data-dot]").nth(3).hover(force=True)
    assert loaded_width(page.locator("#tip img")) == 88
    page.mouse.move(0, 0)
    page.focus("#dots")
    page.keyboard.press("ArrowRight")
    assert page.locator("#dot-words").inner_text() == "cast/00000.png, mislabelled, score 3.00"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "card-0"


def test_keys_walk_through_the_cards_and_switch_the_map(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    for _ in range(2):
        page.keyboard.press("n")
    assert page.evaluate("document.activeElement.id") == "card-1"
    page.keyboard.press("p")
    page.keyboard.press("m")
    assert page.locator("#card-0 .overlay").evaluate("overlay => overlay.style.opacity") == "0"
    page.keyboard.press("/")
    page.keyboard.type("np")  # in the search field keys are letters
    assert page.input_value("#by-text") == "np"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(
    page: Any, report: Path, scheme: str, width: int
):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report.as_uri() + "#flagged")
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def serious_faults(page: Any) -> list[str]:
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def test_hostile_names_inject_nothing(page: Any, tmp_path: Path):
    safe = tuple(name.replace("/", "∕") for name in HOSTILE)
    report = write_report(tmp_path / "audit", draw_audit(tmp_path, images=12, flagged=6, names=safe))
    page.goto(report.as_uri() + "#flagged")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    names = page.locator(".card h3 bdi").all_inner_texts()
    assert names[:3] == list(safe[:3])
    assert "\\u202e" in names[3]  # what turns the direction of text is escaped
    assert "{{ 7*7 }}" in names[3]
    assert page.locator("script:not([type])").count() == 1


def test_five_thousand_cards_scroll_as_a_hundred_do(chromium: Any, page: Any, tmp_path: Path):
    many, few = (
        write_report(folder / "audit", draw_audit(folder, images=flagged + 200, flagged=flagged, drawn=16))
        for folder, flagged in ((tmp_path / "many", 5000), (tmp_path / "few", 100))
    )
    page.goto(many.as_uri() + "#flagged")
    assert page.locator("#cards .card").count() == 5000
    assert page.locator(".card:not(.unfilled)").count() < 100  # only those near the screen are made
    page.locator(".card").last.scroll_into_view_if_needed()
    page.locator(".card:not(.unfilled)").last.wait_for()
    page.fill("#by-text", "04999")
    expect(page.locator("#cards .card:visible")).to_have_count(1)
    assert work_of_scrolling(chromium, many) < 3 * work_of_scrolling(chromium, few)


def work_of_scrolling(chromium: Any, report: Path) -> float:
    """Seconds of the page's own processor time for 60 steps down: what else runs on the machine does not count."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri() + "#flagged")
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = task_seconds(devtools)
    page.evaluate(
        """async () => {
            for (let step = 0; step < 60; step++) {
                scrollBy(0, 900);
                await new Promise(requestAnimationFrame);
            }
        }"""
    )
    work = task_seconds(devtools) - before
    context.close()
    return work


def task_seconds(devtools: Any) -> float:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def test_printing_fills_the_cards(page: Any, report: Path):
    page.goto(report.as_uri() + "#flagged")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".card.unfilled").count() == 0
    assert page.locator("#filters").is_hidden()


def test_the_images_to_look_at_first_come_first_and_are_shown_once(page: Any, tmp_path: Path):
    audit = draw_audit(tmp_path)
    audit = changed(audit, uncertain={20: True, 30: True, 2: True}, confidence={20: 0.3, 30: 0.1, 2: 0.8})
    page.goto(write_report(tmp_path / "audit", audit).as_uri())
    assert "Look at these 3 images first" in page.locator(".notice").inner_text()
    ids = page.locator(".card").evaluate_all("cards => cards.map((card) => card.id)")
    assert ids[:3] == ["card-30", "card-20", "card-2"]
    assert len(ids) == len(set(ids))
    assert shown(page) == 7
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.id") == "card-30"
