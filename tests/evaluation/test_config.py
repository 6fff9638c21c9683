"""The `evaluation` section of a project file. The arm that was called `hybrid`: every file of an earlier version is
read with the name of today. Settings that cannot be meant are refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from evaluation.config import EvaluationConfig
from evaluation.results import Report
from evaluation.verdicts.drift import read_report

# Written by the version before the arm was renamed; the texts of its passages are cut.
OLD_REPORT = Path(__file__).parent / "reporting" / "report_with_hybrid.json"
ENDPOINT = {"url": "http://127.0.0.1:1/v1", "model": "m"}


def test_a_former_name_of_an_arm_is_read_as_the_name_of_today() -> None:
    config = EvaluationConfig.model_validate({"arms": ["base", "hybrid"]})
    assert config.arms == ("base", "tuned_retrieval")
    assert EvaluationConfig.model_validate(config.model_dump(mode="json")) == config


def test_an_arm_is_not_named_by_both_names() -> None:
    with pytest.raises(ValidationError, match="each at most once; `hybrid` is the former name of `tuned_retrieval`"):
        EvaluationConfig.model_validate({"arms": ["hybrid", "tuned_retrieval"]})
    with pytest.raises(ValidationError, match="each at most once") as raised:
        EvaluationConfig.model_validate({"arms": ["base", "base"]})
    assert "former" not in str(raised.value)


@pytest.mark.parametrize("name", ["hybrid", "tuned_retrieval"])
def test_an_endpoint_has_neither_name(name: str) -> None:
    with pytest.raises(ValidationError, match=f"endpoints may not be called {name}"):
        EvaluationConfig.model_validate({"arms": ["base"], "endpoints": {name: ENDPOINT}})


def test_an_old_report_is_read_with_the_name_of_today() -> None:
    arms = ["base", "tuned", "retrieval", "tuned_retrieval"]
    report = read_report(OLD_REPORT)
    assert report.config.arms == tuple(arms) and [arm.name for arm in report.arms] == arms
    for named in (report.freshness, report.costs, report.consistency):
        assert [each.arm for each in named] == arms
    assert {cell.arm for cell in report.cells} == set(arms)
    assert {name for pair in report.differences for name in (pair.first, pair.second)} == set(arms)
    assert report.recommendation.arm == "tuned_retrieval" == report.break_even[0].than
    assert report.recommendation.leaders["overall"] == ["tuned_retrieval"]
    assert all(list(row.replies) == arms for row in report.rows)
    assert report.cell("tuned_retrieval", "overall").num_questions == 3


def test_only_names_of_arms_change_in_an_old_report() -> None:
    report = read_report(OLD_REPORT)
    assert report.arms[3].model == "base:helpdesk@3+hybrid", "a collection may be called so"
    old = report.model_dump_json()
    slices = report.model_copy(update={"slices": ["hybrid"]}).model_dump_json()
    assert Report.model_validate_json(slices).slices == ["hybrid"]
    assert Report.model_validate_json(old) == report, "what is written is read as it was"
    assert '"hybrid"' not in old


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": "model"},
        {"seed": "messages"},
        {"temperature": "max_tokens"},
        {"max_tokens": "length", "temperature": "length"},
    ],
)
def test_a_parameter_is_renamed_to_no_other_field_of_a_call(parameters: dict[str, str]) -> None:
    """`temperature: model` asked for a model that is called 0.0."""
    with pytest.raises(ValidationError, match="parameters may not rename one to"):
        EvaluationConfig.model_validate({"endpoints": {"one": {**ENDPOINT, "parameters": parameters}}})


def test_a_parameter_may_be_renamed_left_out_and_keep_its_name() -> None:
    parameters = {"max_tokens": "max_completion_tokens", "temperature": None, "seed": "seed"}
    config = EvaluationConfig.model_validate({"endpoints": {"one": {**ENDPOINT, "parameters": parameters}}})
    assert config.endpoints["one"].parameters == parameters
