"""The report page: it holds what was measured, escapes what it was given, and loads nothing."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from cluster.runs import Run
from evaluation.arms import make_arms
from evaluation.ask import Asked
from evaluation.compare import conclude
from evaluation.config import FOUR_ARMS, ArmName, EvaluationConfig
from evaluation.page import render_page
from evaluation.questions import Question
from evaluation.report import make_table, write_reports
from evaluation.results import CitedSource, Reply, Report

ARMS = make_arms(FOUR_ARMS, tuned="base:demo@1", collection="demo")
EVIL = "<script>alert('&')</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Two slices of 60; retrieval knows all, the others nothing; one call of the base failed."""
    questions = [question(name, number) for name in ("unseen", "form") for number in range(60)]
    asked = Asked(warm_ups={arm.name: Reply(text="ok", model=arm.model, latency_s=0.2) for arm in ARMS})
    for item in questions:
        asked.replies[item.id] = {arm.name: reply(item, arm.name) for arm in ARMS}
    run = Run(tmp_path_factory.mktemp("run"), "compare", datetime(2026, 11, 23, 15, 0, tzinfo=UTC).isoformat())
    return conclude(EvaluationConfig(), ARMS, questions, asked, run, duration_s=12.0)


def question(name: str, number: int) -> Question:
    form, answers = r"<b>(?P<value>\w+)</b>" if name == "form" else None, (f"<i>{number}</i>", "other")
    text = f"{EVIL} {number}?"
    return Question(id=f"{name}-{number}", slice=name, question=text, answers=answers, form=form, sources=("a.md",))


def reply(item: Question, arm: ArmName) -> Reply:
    if item.id == "unseen-0" and arm == "base":
        return Reply(failed=f"503 {EVIL}")
    source = CitedSource(index=1, source="docs/<a>.md", title=EVIL, cited=True)
    text = f"It is {item.answers[0]} [1]." if arm == "retrieval" else f"It is {EVIL}"
    return Reply(text=text, model=arm, latency_s=0.05, citations=[source] if arm == "retrieval" else [])


class Page(HTMLParser):
    """Tags that are open, attributes that could load something, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            f"{tag} {name}" for name, _ in attributes if name in ("src", "href", "srcset", "action", "style")
        ]
        if tag not in ("meta", "input", "br", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    text = render_page(report)
    page = Page(text)
    assert page.open == [] and page.loads == []
    assert page.tags.count("script") == 1
    assert not re.search(r"@import|url\(|https?://", text)
    assert "default-src 'none'" in text


def test_everything_given_is_escaped(report: Report) -> None:
    text = render_page(report)
    assert EVIL not in text and "<i>" not in text and "docs/<a>.md" not in text
    page = Page(text)
    assert page.text.count(EVIL) >= 120
    assert "<i>7</i>" in page.text


def test_the_page_says_what_was_measured(report: Report) -> None:
    page = Page(render_page(report))
    words = " ".join(page.text.split())
    assert report.recommendation.headline == "Use retrieval."
    for sentence in (report.recommendation.headline, *report.recommendation.sentences):
        assert sentence in words
    assert "59" in words and "1 call failed" in words
    assert page.tags.count("svg") == 3 and page.tags.count("circle") == 12
    assert page.tags.count("article") == 4 + 120


def test_the_table_has_a_row_for_every_slice_and_arm(report: Report) -> None:
    console = Console(width=110, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(make_table(report))
    text = console.export_text()
    rows = [line.split() for line in text.splitlines() if re.search(r"\d\.\d\d \(", line)]
    assert len(rows) == 3 * 4
    assert rows[0][:4] == ["unseen", "base", "59", "1"]
    assert "1.00 (0.94 to 1.00) *" in text and "form 0.00, value 1.00" in " ".join(text.split())


def test_both_files_are_written_whole(report: Report, tmp_path: Path) -> None:
    paths = write_reports(report, tmp_path)
    assert [path.name for path in paths] == ["report.json", "report.html"]
    assert Report.model_validate_json(paths[0].read_text()) == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
