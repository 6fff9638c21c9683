"""The report page: it holds what was measured, escapes what it was given, and loads nothing."""

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from evaluation.config import FOUR_ARMS
from evaluation.reporting.page import render_page, with_code
from evaluation.reporting.report import make_table, write_reports
from evaluation.results import Report
from tests.evaluation.reports import EVIL, make_report

VOID = ("meta", "input", "br", "line", "path", "use", "rect")


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(120, hostile=True)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return render_page(report)


class Page(HTMLParser):
    """Tags that are open, attributes that could load or run something, headings, ids, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.text = "".join(self.said)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name == "href" and (value or "").startswith("#"):
                self.links.add((value or "")[1:])
            elif name in ("src", "href", "srcset", "action", "style") or name.startswith("on"):
                self.loads.append(f"{tag} {name}")
            elif name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_the_page_is_well_formed_and_loads_nothing(text: str) -> None:
    page = Page(text)
    assert page.open == [] and page.loads == []
    assert page.tags.count("script") == 2 and page.tags.count("style") == 1 and "img" not in page.tags
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in unescape(text) and "unsafe-" not in text
    assert page.links <= set(page.ids) and len(page.ids) == len(set(page.ids))


def test_everything_given_is_escaped(text: str) -> None:
    assert EVIL not in text and "<i>" not in text and "<img" not in text
    page = Page(text)
    assert page.text.count(EVIL) >= 100
    assert "<i>8</i>" in page.text and "</script><img src=x onerror=alert(1)>" in page.text


def test_the_page_says_what_was_measured(report: Report, text: str) -> None:
    words = " ".join(Page(text).text.split())  # a space that does not break is a space to split()
    answer = report.recommendation
    for sentence in (answer.headline, *answer.sentences, *answer.would_change):
        assert " ".join(sentence.split()) in words
    assert "8 points (3 to 13)" in Page(text).text.replace("\u00a0", " ") and "8\u00a0points" in text
    assert answer.adopt is not None and answer.adopt.strip() in Page(text).text
    assert "Above about 12,000 questions a month base costs less than hosted-model" in words
    assert "Cohen’s kappa, agreement beyond chance, is 0.69" in words
    assert "people: right 20 4" in re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", text))
    assert "31 of 80 wrong answers are of a kind that training can correct." in words
    assert "1 of 2 gates failed." in words and "! failed" not in words
    assert "ungradable" in words and "not graded: the judge did not answer" in words
    assert Page(text).tags.count("article") == len(report.arms) + 120


@pytest.mark.parametrize(
    ("field", "empty", "section"),
    [
        ("costs", [], "cost"),
        ("judge", None, "judge"),
        ("consistency", [], "consistency"),
        ("freshness", [], "freshness"),
        ("gates", [], "gates"),
    ],
)
def test_a_section_is_there_only_with_its_data(report: Report, field: str, empty: object, section: str) -> None:
    assert f'id="{section}"' in render_page(report)
    assert f'id="{section}"' not in render_page(report.model_copy(update={field: empty}))


def test_a_bare_report_has_a_page_too() -> None:
    """Only what every comparison has: no costs, no judge, no general questions, nothing answered by one arm."""
    full = make_report(12, FOUR_ARMS)
    empty = {
        "consistency": [], "freshness": [], "costs": [], "break_even": [], "judge": None, "staging": None, "gates": [],
        "differences": [], "slices": ["seen", "unseen", "form"],
        "cells": [cell for cell in full.cells if cell.slice != "general"],
    }  # fmt: skip
    page = Page(render_page(full.model_copy(update=empty)))
    assert not {"cost", "judge", "forgetting", "earlier"} & set(page.ids)
    assert {"accuracy", "latency", "failures", "numbers", "method", "questions"} <= set(page.ids)


def test_arms_are_told_apart_by_their_order_and_not_by_name_or_colour_alone(report: Report) -> None:
    text = render_page(report)
    panel = text[text.index('<section id="accuracy"') :]
    panel = panel[: panel.index("</figure>")]
    drawn = re.findall(r'<g class="(arm-\d)[^"]*"><text[^>]*>.*?</text>.*? d="(M[^"]*z)"', panel)
    assert [name for name, _ in drawn] == [f"arm-{index}" for index in range(7)]
    assert len({shape for _, shape in drawn}) == 6, "the seventh arm has the first shape again, in another colour"
    assert "hosted-model" in panel


def test_many_questions_wait_as_data(report: Report) -> None:
    text = render_page(make_report(230, FOUR_ARMS, hostile=True))
    page = Page(text)
    assert page.tags.count("article") == 4 + 200 and page.tags.count("script") == 2 and "img" not in page.tags
    data = json.loads(text.split('<script id="data" type="application/json">')[1].split("</script>")[0])
    assert len(data["rows"]) == 230 and data["arms"] == list(FOUR_ARMS)
    assert [bool(html) for *_, html in data["rows"]] == [False] * 200 + [True] * 30
    assert "What is the number of item 229?" in data["rows"][229][3]
    assert len(data["passages"]) == len(set(data["passages"])) > 0
    assert any(EVIL in passage for passage in data["passages"])
    assert "shows the first 200 of 230 questions" in text


def test_the_table_has_a_row_for_every_slice_and_arm(report: Report) -> None:
    console = Console(width=130, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(make_table(report))
    text = console.export_text()
    rows = [line.split() for line in text.splitlines() if re.search(r"\d % \(", line)]
    assert len(rows) == 5 * 7
    assert rows[0][:2] == ["seen", "base"]


def test_the_files_are_written_whole(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / report.run
    folder.mkdir()
    paths = write_reports(report, folder)
    assert [path.name for path in paths] == ["report.json", "report.html", "report.md"]
    assert Report.model_validate_json(paths[0].read_text()) == report
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]


def test_what_stands_between_backticks_is_code_and_everything_is_escaped() -> None:
    assert str(with_code("a `b<i>` <c> `d")) == "a <code>b&lt;i&gt;</code> &lt;c&gt; `d"
