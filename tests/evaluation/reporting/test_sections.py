"""The section about the gates names the version, what it was compared with, and what to do."""

import pytest

from evaluation.reporting.markdown import make_markdown
from evaluation.reporting.sections import ReportSection, make_sections
from evaluation.results import Candidate, Gate, Report
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
