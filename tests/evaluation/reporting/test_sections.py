"""Gates name the version and what it was compared with; costs that nobody measured or pays for are not shown."""

import re

import pytest

from cluster.registry.gate_records import Candidate
from evaluation.arms import make_arms
from evaluation.config import FOUR_ARMS, EndpointArm, EvaluationConfig, Prices
from evaluation.reporting import tables
from evaluation.reporting.markdown import make_markdown
from evaluation.reporting.sections import ReportSection, make_sections
from evaluation.results import Gate, Report
from evaluation.verdicts.costs import costs_of_arms
from tests.evaluation.reports import make_report


def gate(name: str, outcome: str, holds: bool) -> Gate:
    fields = {"name": name, "passed": outcome == "passed", "outcome": outcome, "holds": holds, "seen": "seen"}
    return Gate.model_validate(fields)


PASSED, FORGETTING = gate("overall", "passed", False), gate("forgetting", "passed", False)
REFUSED, OPEN, LET_GO = (
    gate("slice form", "refused", True), gate("slice seen", "undecided", True), gate("slice seen", "undecided", False),
)  # fmt: skip
LIVE = Candidate(version="demo@3", arm="tuned", live="demo@2", live_arm="live")
FIRST = Candidate(version="demo@1", arm="tuned")


def with_gates(gates: list[Gate], candidate: Candidate) -> Report:
    return make_report().model_copy(update={"gates": gates, "candidate": candidate})


def section(gates: list[Gate], candidate: Candidate) -> ReportSection:
    return next(each for each in make_sections(with_gates(gates, candidate)) if each.id == "gates")


@pytest.mark.parametrize(
    ("gates", "lead"),
    [
        ([PASSED, FORGETTING], "Version demo@3 may be made live. demo@3 passed all 2 gates."),
        ([PASSED, REFUSED], "Version demo@3 may not be made live without a reason. demo@3 was refused by 1 of 2 gates: "
                            "slice form."),
        ([PASSED, OPEN], "Version demo@3 may not be made live without a reason. There are not enough questions to tell "
                         "about demo@3 at 1 of 2 gates: slice seen."),
        ([PASSED, LET_GO], "Version demo@3 may be made live. There are not enough questions to tell about demo@3 at "
                           "1 of 2 gates: slice seen."),
    ],
)  # fmt: skip
def test_the_version_is_named_with_its_outcome(gates: list[Gate], lead: str) -> None:
    found = section(gates, LIVE)
    assert (found.title, found.lead) == ("May demo@3 be made live", lead)
    assert ("--despite" in " ".join(found.sentences)) == any(gate.holds for gate in gates)
    assert "It may" not in make_markdown(with_gates(gates, LIVE))


@pytest.mark.parametrize(
    ("gates", "candidate", "words"),
    [
        ([PASSED], LIVE, "Version demo@3 was compared with demo@2, which is live."),
        ([PASSED, FORGETTING], LIVE, "Version demo@3 was compared with demo@2, which is live, and with the base model "
                                     "on the general questions."),
        ([FORGETTING], FIRST, "Version demo@1 was compared with the base model on the general questions alone: no "
                              "other version is live."),
        ([gate("answered", "passed", False)], FIRST,
         "Version demo@1 was compared with nothing: no other version is live."),
    ],
)  # fmt: skip
def test_it_is_said_what_was_compared(gates: list[Gate], candidate: Candidate, words: str) -> None:
    assert section(gates, candidate).sentences[0] == words


def test_a_report_of_an_earlier_version_passed_or_failed() -> None:
    report = make_report()
    assert report.candidate is None
    (found,) = (each for each in make_sections(report) if each.id == "gates")
    assert (found.title, found.lead) == ("May the new version be made live", "1 of 2 gates failed.")
    assert not found.sentences and not found.tables[0].note


@pytest.mark.parametrize("prices", [Prices(), Prices(machine_hour=0.0), Prices(machine_hour=1e-9)], ids=str)
def test_where_nothing_is_paid_no_sum_is_shown(prices: Prices) -> None:
    """Without a price, at a price of nothing, and at one so small that two decimals would show nothing."""
    report = make_report(arms=FOUR_ARMS)
    arms = make_arms(FOUR_ARMS, tuned="base:demo@1", collection="demo")
    replies = [reply for row in report.rows for reply in row.replies.values()]
    assert all(reply.machine_s is None for reply in replies)
    rows = [
        row.model_copy(update={"replies": {
            arm: reply.model_copy(update={"machine_s": 0.01}) for arm, reply in row.replies.items()
        }})
        for row in report.rows
    ]  # fmt: skip
    costs = costs_of_arms(rows, arms, EvaluationConfig(prices=prices), {"tuned": 60.0, "tuned_retrieval": 60.0}, 5.0)
    text = make_markdown(report.model_copy(update={"costs": costs, "break_even": [], "config": EvaluationConfig()}))
    assert not re.search(r"USD 0(?![.\d])|USD 0\.0*(?!\d)", text)
    assert ("USD" in text) == bool(prices.machine_hour)


def test_machine_time_that_was_not_measured_is_said_and_that_of_another_endpoint_is_not_there() -> None:
    hosted = EndpointArm(url="http://models.example/v1", model="m", input_price=1.0, output_price=1.0)
    report = make_report(arms=("base", "retrieval", "large"))
    config = EvaluationConfig(arms=("base", "retrieval", "large"), endpoints={"large": hosted})
    arms = make_arms(config.arms, collection="demo", endpoints=config.endpoints)
    costs = costs_of_arms(report.rows, arms, config, {}, None)
    costs = [costs[0].model_copy(update={"machine_s": 0.02}), *costs[1:]]
    found = next(
        each
        for each in make_sections(report.model_copy(update={"costs": costs, "config": config}))
        if each.id == "cost"
    )
    column = found.tables[0].headings.index("machine time")
    assert [line.cells[column] for line in found.tables[0].lines] == ["20 ms", "not measured", ""]


def test_a_legend_explains_the_columns_that_are_shown_and_no_other() -> None:
    report = make_report(24, ("base", "tuned"))
    cells = [
        cell.model_copy(
            update={"num_no_answer": 0, "num_unclear": 0, "f1": None, "cited_right": None, "grounded": None}
        )
        for cell in report.cells
    ]
    for each in (report, report.model_copy(update={"cells": cells})):
        table = tables.numbers_table(each)
        for heading in ("no answer", "unclear", "cited", "grounded", "F1", "p50", "refused", "false"):
            explained = f"{heading[0].upper()}{heading[1:]}:" in table.note or f"{heading} and p95:" in table.note
            assert explained is (heading in table.headings), heading
