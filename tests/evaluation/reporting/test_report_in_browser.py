"""The report as a reader has it: in Chromium, on a phone and on a desk, by day and by night."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from evaluation.reporting.earlier import EarlierRun
from evaluation.reporting.page import render_page
from evaluation.results import Report
from tests.browsing import DESKTOP, PHONE, Scheme, Watched, watched
from tests.evaluation.reports import EVIL, make_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NUM_MANY = 230


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(40, hostile=True)


@pytest.fixture(scope="module")
def file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = report.created - timedelta(days=7)
    arms = {arm.name: report.cell(arm.name, "overall").accuracy for arm in report.arms}
    runs = [EarlierRun("compare-a", before, arms, False), EarlierRun("compare-b", not_comparable=EVIL)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(report, runs))
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More questions than stand in the page."""
    path = tmp_path_factory.mktemp("many") / "report.html"
    path.write_text(render_page(make_report(NUM_MANY, ("base", "retrieval"))))
    return path


@pytest.fixture
def opened(browser: "Browser", file: Path) -> Iterator[Watched]:
    with watched(browser, file.as_uri()) as seen:
        seen.page.goto(file.as_uri())
        yield seen
        assert seen.errors == []


@pytest.fixture
def opened_many(browser: "Browser", many: Path) -> Iterator[Watched]:
    with watched(browser, many.as_uri()) as seen:
        seen.page.goto(many.as_uri())
        yield seen
        assert seen.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_is_legible_and_asks_for_nothing(
    browser: "Browser", file: Path, size: tuple[int, int], scheme: Scheme
) -> None:
    with watched(browser, file.as_uri(), size, scheme) as seen:
        seen.page.goto(file.as_uri())
        assert seen.overflow() == 0
        seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert seen.overflow() == 0, "with everything unfolded"
        assert seen.poor_contrasts() == {}
        dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 25)"
        assert dark == (scheme == "dark")
        assert seen.errors == []


def test_hostile_text_is_text(opened: Watched, report: Report) -> None:
    said = opened.page.locator(".said").first.text_content()
    assert said == report.rows[0].replies["base"].text
    assert opened.page.locator("img, iframe, object, #rows script").count() == 0
    assert opened.page.evaluate("document.scripts.length") == 2
    backwards = opened.page.locator("h3", has_text="שלום").first
    assert backwards.get_attribute("dir") == "auto"


def test_a_very_long_answer_is_folded(opened: Watched) -> None:
    card = opened.page.locator(".question").nth(6)
    assert card.evaluate("(card) => card.getBoundingClientRect().height") < 2500
    card.locator(".long summary").first.click()
    assert len(card.locator(".long .said").first.inner_text()) > 90_000


def test_headings_are_in_order_and_all_is_named(opened: Watched) -> None:
    levels = opened.page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert opened.page.locator("svg.plot:not([aria-label])").count() == 0
    assert opened.page.evaluate("[...document.querySelectorAll('select, input')].every((one) => one.labels.length)")


def shown(seen: Watched) -> int:
    return int(seen.page.locator("output").inner_text().split()[0])


def marks(report: Report, arm: str) -> list[str]:
    found = []
    for row in report.rows:
        reply = row.replies[arm]
        found.append("right" if reply.grade and reply.grade.correct else "wrong" if reply.grade else "none")
    return found


def test_filters_by_slice_arm_mark_and_reason(opened: Watched, report: Report) -> None:
    page = opened.page
    assert shown(opened) == 40
    page.locator("select[name=slice]").select_option("form")
    expect(page.locator("output")).to_have_text("10 of 40")
    assert page.locator(".question .chip").all_text_contents() == ["form"] * 10
    page.locator("select[name=slice]").select_option("")
    page.locator("select[name=arm]").select_option(label="retrieval")
    page.locator("select[name=mark]").select_option("wrong")
    num_wrong = marks(report, "retrieval").count("wrong")
    expect(page.locator("output")).to_have_text(f"{num_wrong} of 40")
    page.locator("select[name=kind]").select_option("misread")
    failed = [row.replies["retrieval"].grade for row in report.rows]
    num_misread = sum(grade is not None and grade.failure == "misread" for grade in failed)
    expect(page.locator("output")).to_have_text(f"{num_misread} of 40")
    assert page.locator(".question").count() == num_misread
    page.locator("select[name=kind]").select_option("")
    for mark in ("failed", "ungradable"):
        page.locator("select[name=mark]").select_option(mark)
        number = sum(getattr(row.replies["retrieval"], mark) is not None for row in report.rows)
        expect(page.locator("output")).to_have_text(f"{number} of 40")


def test_filters_by_text_and_says_where_nothing_is_left(opened: Watched) -> None:
    box = opened.page.get_by_label("containing")
    box.fill("ITEM 17?")
    expect(opened.page.locator("output")).to_have_text("1 of 40")
    box.fill("<script>alert('&')")
    expect(opened.page.locator("output")).to_have_text("5 of 40")
    box.fill("class=")
    expect(opened.page.locator("output")).to_have_text("0 of 40")
    assert opened.page.get_by_text("No question is left by these filters.").is_visible()


def test_passages_unfold_and_cited_ones_are_marked(opened: Watched) -> None:
    passages = opened.page.locator(".question").first.locator(".passage")
    assert passages.count() == 3
    assert passages.nth(0).locator("b").count() == 3 and passages.nth(1).locator("b").count() == 0
    assert not passages.nth(0).locator(".said").is_visible()
    passages.nth(0).locator("summary").click()
    assert passages.nth(0).locator(".said").inner_text().startswith("Passage 1. ")


def test_the_keyboard_reaches_filters_and_folds(opened: Watched) -> None:
    page = opened.page
    page.locator("select[name=slice]").focus()
    for name in ("arm", "mark", "kind", "text"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == name
    page.keyboard.type("item 16?")
    expect(page.locator("output")).to_have_text("1 of 40")
    expect(page.locator("#rows summary").first).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_what_waits_comes_as_it_is_scrolled_to_and_is_found(opened_many: Watched) -> None:
    page = opened_many.page
    num_at_first = page.locator(".question").count()
    assert 40 <= num_at_first < NUM_MANY
    while page.locator(".further").is_visible():
        page.locator(".further").scroll_into_view_if_needed()
        page.wait_for_timeout(50)
    assert page.locator(".question").count() == NUM_MANY
    page.get_by_label("containing").fill("number of item 225?")
    expect(page.locator("output")).to_have_text("1 of 230")
    page.locator(".passage summary").first.click()
    assert page.locator(".passage .said").first.inner_text().startswith("Passage 226. ")


def test_on_paper_everything_is_there(opened_many: Watched) -> None:
    page = opened_many.page
    page.emulate_media(media="print")
    expect(page.locator(".question")).to_have_count(NUM_MANY)
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".filters").is_visible()
    page.emulate_media(media="screen")
    expect(page.locator("details[open]")).to_have_count(0)


def test_without_script_the_first_questions_are_there_and_it_is_said(browser: "Browser", many: Path) -> None:
    with watched(browser, many.as_uri(), script=False) as seen:
        seen.page.goto(many.as_uri())
        assert seen.page.locator(".question").count() == 200
        assert seen.page.get_by_text("Without script this page shows the first 200 of 230 questions").is_visible()
        assert not seen.page.locator(".filters").is_visible()
        seen.page.locator(".passage summary").first.click()
        assert seen.page.locator(".passage .said").first.inner_text().startswith("Passage 1. ")


@pytest.mark.matrix
def test_five_thousand_questions_can_be_filtered_soon(browser: "Browser", tmp_path: Path) -> None:
    """A generous bound for a loaded machine; benchmarks have the numbers."""
    path = tmp_path / "report.html"
    path.write_text(
        render_page(make_report(5000, ("base", "few_shot", "retrieval", "tuned", "tuned_retrieval", "raft")))
    )
    with watched(browser, path.as_uri()) as seen:
        begun = time.monotonic()
        seen.page.goto(path.as_uri())
        assert shown(seen) == 5000
        opened_s = time.monotonic() - begun
        begun = time.monotonic()
        seen.page.get_by_label("containing").fill("item 4999?")
        expect(seen.page.locator("output")).to_have_text("1 of 5000")
        filtered_s = time.monotonic() - begun
        assert seen.errors == []
    print(json.dumps({"bytes": path.stat().st_size, "opened_s": opened_s, "filtered_s": filtered_s}))
    assert opened_s < 10 and filtered_s < 5
