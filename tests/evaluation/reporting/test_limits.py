"""What was assumed and what was not measured stands in one place, and says the same on the page, in Markdown and in the
terminal."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from evaluation.config import EvaluationConfig, Prices
from evaluation.reporting.limits import list_limits
from evaluation.reporting.markdown import escaped, make_markdown
from evaluation.reporting.page import render_page
from evaluation.reporting.report import summary_text
from evaluation.reporting.sections import LIMITS, make_sections
from evaluation.results import Report, Staging
from tests.evaluation.reports import REMARK, make_report

FRACTION = re.compile(r"(?<![\d.@\w])[01]\.\d\d?(?![\d.])")


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(120)


def changed(report: Report, **fields: Any) -> list[str]:
    return list_limits(report.model_copy(update=fields))


def unpriced(report: Report) -> Report:
    nothing = dict.fromkeys(("answer_money", "right_answer_money", "training_money", "indexing_money"))
    costs = [cost.model_copy(update={**nothing, "monthly_money": cost.monthly_money and None}) for cost in report.costs]
    return report.model_copy(update={"costs": costs, "break_even": []})


def words_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).replace("\u00a0", " ").split())


def test_page_markdown_and_terminal_say_the_same(report: Report) -> None:
    limits = list_limits(report)
    assert limits[0] == REMARK and len(limits) > 3
    page, text, terminal = words_of(render_page(report)), make_markdown(report), summary_text(report)
    assert f"## {LIMITS}" in text and f"{LIMITS}:" in terminal
    for sentence in limits:
        assert sentence.replace("`", "") in page.replace("`", "")
        assert escaped(sentence) in text and f"- {sentence}" in terminal


def test_what_does_not_count_is_said_by_arm_and_adds_up(report: Report) -> None:
    for arm in report.arms:
        cell = report.cell(arm.name, "overall")
        (said,) = [each for each in list_limits(report) if each.lower().startswith(f"{arm.title.lower()}: ")]
        number, *reasons = map(int, re.findall(r"(?<![\w-])\d+(?= )", said.replace(f"of {cell.num_questions} ", "")))
        assert number == sum(reasons) == cell.num_questions - cell.accuracy.n


def test_prices_that_are_set_and_prices_that_are_not(report: Report) -> None:
    prices = Prices(machine_hour=2.5, trainings_per_month=4)
    config = report.config.model_copy(update={"prices": prices})
    assert any(
        "USD 2.50 for an hour of a machine; 4 trainings and 1 index" in each for each in changed(report, config=config)
    )
    assert any(each.startswith("No price is set") for each in list_limits(unpriced(report)))
    some = [cost.model_copy(update={"answer_money": None}) if cost.arm == "base" else cost for cost in report.costs]
    assert any("No price of an answer is known for base" in each for each in changed(report, costs=some))


def test_without_prices_there_is_no_sum_of_money(report: Report) -> None:
    free = unpriced(report)
    page = render_page(free)
    assert "USD" not in words_of(page) and "USD" not in make_markdown(free)
    (cost,) = [section for section in make_sections(free) if section.id == "cost"]
    assert cost.figures and "ms machine time for an answer" in str(cost.figures[0].svg)


def test_a_judge_that_is_not_trusted_and_arms_that_were_not_measured(report: Report) -> None:
    assert report.judge is not None
    judge = report.judge.model_copy(update={"trusted": False, "reason": "kappa is 0.3"})
    assert any(
        "judge-model is not trusted" in each and "kappa is 0.3." in each for each in changed(report, judge=judge)
    )
    values = [row for row in report.rows if row.question.kind != "rubric"]
    said = changed(report, judge=judge, rows=values)
    assert any("not trusted, so that answers that the rules cannot decide on stay so" in each for each in said)
    staging = Staging(trained=False, reason="It cannot pay.", failures={}, num_questions=10, repayable=0)
    arms = [arm for arm in report.arms if arm.name == "base"]
    config = EvaluationConfig(arms=("base", "tuned"))
    said = changed(report, arms=arms, config=config, staging=staging, rows=[])
    assert "Arms that were not measured: tuned. It cannot pay." in said


def test_the_one_token_of_a_choice_is_no_answer_that_was_too_long(report: Report) -> None:
    """An answer to a choice always ends at its length, which is one token."""
    row = report.rows[0]
    cut = {arm: reply.model_copy(update={"cut_off": True}) for arm, reply in row.replies.items()}
    for kind, said in (("value", True), ("choice", False)):
        question = row.question.model_copy(update={"kind": kind})
        rows = [row.model_copy(update={"question": question, "replies": cut})]
        assert any("ended at the longest length" in each for each in changed(report, rows=rows)) is said


def test_what_was_not_measured_is_named(report: Report) -> None:
    (said,) = [each for each in changed(report, consistency=[], freshness=[]) if each.startswith("Not measured: ")]
    assert "evaluation.repeats" in said and "evaluation.corrections" in said and "evaluation.general" not in said
    assert not [each for each in list_limits(report) if each.startswith("Not measured: ")]


def test_an_arm_that_does_not_search_failed_for_that(report: Report) -> None:
    failures = next(section for section in make_sections(report) if section.id == "failures")
    (table,) = failures.tables
    lines = {line.cells[0]: dict(zip(table.headings, line.cells, strict=True)) for line in table.lines}
    assert lines["base"]["not retrieved"] == "0" and int(lines["base"]["does not search"]) > 0
    assert lines["retrieval"]["does not search"] == "0" and int(lines["retrieval"]["not retrieved"]) > 0
    first = next(
        row for row in report.rows if (grade := row.replies["base"].grade) and grade.failure == "not_retrieved"
    )
    page = render_page(report)
    card = page[page.index(f">{first.question.id}<") :].partition("</article>")[0]
    assert "does not search" in card.partition('<p class="who">')[2].partition('<p class="who">')[0]


def test_words_and_plots_have_percent_and_the_file_has_fractions(report: Report) -> None:
    kappa = report.model_copy(update={"judge": None})
    head = render_page(kappa).partition('<section id="method"')[0].partition("<body>")[2]
    words = re.sub(r"<[^>]*>", " ", head)
    assert FRACTION.findall(words) == ["0.04"] * words.count("USD 0.04"), "money alone"
    assert json.loads(report.model_dump_json())["cells"][0]["accuracy"]["share"] < 1


def test_an_arm_that_is_behind_is_named_only_where_the_plot_is_folded_away(report: Report) -> None:
    assert not next(section for section in make_sections(report) if section.id == "accuracy").sentences
    names = [f"slice-{number:02}" for number in range(14)]
    cells = [cell for cell in report.cells if cell.slice == "overall"]
    cells += [cell.model_copy(update={"slice": name}) for name in names for cell in cells]
    leaders = {name: ["raft"] for name in ("overall", *names)}
    recommendation = report.recommendation.model_copy(update={"leaders": leaders})
    many = report.model_copy(update={"slices": names, "cells": cells, "recommendation": recommendation})
    said = next(section for section in make_sections(many) if section.id == "accuracy").sentences
    assert [sentence.partition(",")[0] for sentence in said] == ["On slice-11", "On slice-12", "On slice-13"]
    assert "base (" in said[0] and said[0].endswith("%).") and "are behind tuned for retrieval (" in said[0]


def test_the_contents_name_every_part_of_the_page(report: Report) -> None:
    page = render_page(report)
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    parts = ["answer", *re.findall(r'<section id="([^"]+)"', page)]
    assert re.findall(r'href="#([^"]+)"', contents) == parts


def test_a_report_of_an_earlier_version_has_its_limits() -> None:
    earlier = Report.model_validate_json((Path(__file__).parent / "report_with_hybrid.json").read_bytes())
    assert list_limits(earlier) and "tuned + retrieval" in render_page(earlier) and make_markdown(earlier)
