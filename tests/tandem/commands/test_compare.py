"""The exit code of a comparison says whether there is a result, and whether an earlier verdict still stands."""

import pytest

from evaluation.results import Drift
from tandem.commands.compare import exit_code_of
from tests.evaluation.reports import make_report


@pytest.mark.parametrize("outcome", ["winner", "tie", "not_enough", "one_arm", "none_right"])
def test_a_result_ends_with_0_and_a_verdict_that_fell_with_4(outcome: str) -> None:
    report = make_report(12)
    report = report.model_copy(update={"recommendation": report.recommendation.model_copy(update={"outcome": outcome})})
    drift = Drift(since="then", changed=[], added=[], deleted=[], asked=[], before="Use base.", stands=True)
    assert exit_code_of(report) == exit_code_of(report.model_copy(update={"drift": drift})) == 0
    fallen = drift.model_copy(update={"stands": False})
    assert exit_code_of(report.model_copy(update={"drift": fallen})) == 4


@pytest.mark.parametrize("outcome", ["failures", "model_changed"])
def test_a_measurement_that_came_to_nothing_ends_with_3(outcome: str) -> None:
    report = make_report(12)
    report = report.model_copy(update={"recommendation": report.recommendation.model_copy(update={"outcome": outcome})})
    assert exit_code_of(report) == 3
