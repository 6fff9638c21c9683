"""What a comparison decides without an endpoint: which run it looks back at, which version stays live, what is kept."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.gate_records import GateOutcome
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from evaluation.results import Gate
from evaluation.verdicts.drift import read_report
from tandem.compare.arm_training import adapters_of
from tandem.compare.check import CheckedData
from tandem.compare.compare import compare
from tandem.compare.steps import Comparison
from tandem.console import Console
from tandem.pipeline.training import read_rows
from tandem.project.project import Project, load
from training.publish.publish import fingerprint, write_trained_rows

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "tandem.yaml").write_text(f"project: demo\nmodel: {QUICKSTART / 'model'}\n")
    return load(tmp_path / "tandem.yaml")


def publish(project: Project, number: int, **changed: str) -> AdapterVersion:
    """Published as live at once, as where the project wants no parity check; trained on the project's rows."""
    staging = project.storage.root / f"staging-{number}"
    staging.mkdir()
    (staging / "weights").write_text(str(number))
    if project.training.data:
        write_trained_rows(read_rows(project).report.rows, staging)
    fields: dict[str, Any] = {
        "base_model": "m", "base_digest": "b", "method": "lora", "rank": 4, "template_hash": "t", "prompt_hash": None,
        "data_digest": "d", "fingerprint": str(number), "metrics": {}, **changed,
    }  # fmt: skip
    return Registry(project.storage.adapters).publish("demo", staging, **fields)


def compared(project: Project, **adapters: AdapterVersion) -> Comparison:
    run = Run(project.storage.runs("demo"), "compare", datetime.now(UTC).isoformat())
    return Comparison(project, CheckedData([]), run, "nowhere", Console(), adapters=dict(adapters))


class Gated:
    """As much of a report as the gates are read from."""

    def __init__(self, outcome: GateOutcome, holds: bool) -> None:
        self.gates = [Gate(name="overall", passed=outcome == "passed", outcome=outcome, holds=holds, seen="seen")]


@pytest.mark.parametrize(
    ("outcome", "holds", "live", "words"),
    [
        ("refused", True, 1, "demo@2 was refused by its one gate: overall. demo@1 stays live."),
        ("undecided", True, 1, "There are not enough questions to tell about demo@2 at its one gate: overall. demo@1 "
                               "stays live."),
        ("undecided", False, 2, "There are not enough questions to tell about demo@2 at its one gate: overall. demo@2 "
                                "is live now."),
        ("passed", False, 2, "demo@2 passed its one gate. demo@2 is live now."),
    ],
)  # fmt: skip
def test_a_version_that_a_gate_holds_is_not_live_however_it_was_published(
    project: Project, capsys: pytest.CaptureFixture[str], outcome: GateOutcome, holds: bool, live: int, words: str
) -> None:
    first, second = publish(project, 1), publish(project, 2)
    compared(project, live=first, tuned=second).pass_gates(Gated(outcome, holds))  # type: ignore[arg-type]
    assert Registry(project.storage.adapters).resolve("demo").version == live
    assert words in " ".join(capsys.readouterr().err.split())


def test_where_no_other_version_is_live_it_is_said_that_nothing_was_compared(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    compared(project, tuned=publish(project, 1)).pass_gates(Gated("passed", False))  # type: ignore[arg-type]
    assert "demo@1 was not compared with another version, since no other is live." in capsys.readouterr().err


def test_another_index_has_only_what_reads_it_asked_again(project: Project) -> None:
    def versions(index: str) -> dict[str, str]:
        comparison = compared(project)
        comparison.trainings.index_version = index
        return comparison.versions()

    before, after = versions("1"), versions("2")
    assert {arm for arm in before if before[arm] != after[arm]} == {"retrieval", "tuned_retrieval"}


def test_the_adapter_of_an_arm_that_was_renamed_since_is_found(project: Project) -> None:
    published = publish(project, 1)
    report = read_report(Path(__file__).parents[2] / "evaluation" / "reporting" / "report_with_hybrid.json")
    arm = report.arms[3].model_copy(update={"model": "base:demo@1+demo"})
    found = adapters_of(report.model_copy(update={"arms": [arm]}), Registry(project.storage.adapters))
    assert arm.name == "tuned_retrieval" and found == {"tuned": published}


@pytest.mark.parametrize("name", ["last", "compare-nowhere", "/nowhere"])
def test_a_run_that_is_not_there_is_said_before_anything_is_started(project: Project, name: str) -> None:
    with pytest.raises(TandemError, match="no comparison"):
        compare(project, Console(), since=name)
    assert not project.storage.runs("demo").exists()


@pytest.mark.parametrize(("live", "added"), [(None, []), ("same", []), ("other", ["live"])])
def test_a_live_version_is_another_model_only_where_it_is_not_the_one_that_is_measured(
    tmp_path: Path, live: str | None, added: list[str]
) -> None:
    row = {"messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "tandem.yaml").write_text(
        f"project: demo\nmodel: {QUICKSTART / 'model'}\ntraining: {{data: rows.jsonl, method: full}}\n"
        "evaluation: {arms: [base, tuned]}\n"
    )
    project = load(tmp_path / "tandem.yaml")
    if live:
        own = fingerprint(project.training, project.model, digest_model(project.model))
        publish(project, 1, kind="merged", fingerprint=own if live == "same" else "other")
    comparison = compared(project)
    assert comparison.merged == ["tuned", *added]
    assert "trainings" not in vars(comparison), "it keeps the version of the index, which is not known yet"
