"""`tandem questions export` on the command line: what it writes, what it names, and what it leaves as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.errors import TandemError
from evaluation.reporting.report import write_reports
from tandem.cli import app
from tests.evaluation.reports import make_report

QUESTIONS = [
    {"id": "a", "slice": "s", "question": "Capital?", "answers": ["Paris"], "sources": ["a.md"]},
    {"id": "b", "slice": "s", "question": "Why?", "kind": "rubric", "rubric": "Right if it says why."},
]
OUT = {"lm-eval": "lm-eval/questions.jsonl", "promptfoo": "promptfooconfig.yaml", "ragas": "ragas.jsonl"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    return tmp_path


def export(*words: str) -> Any:
    done = CliRunner().invoke(app, ["questions", "export", "questions.jsonl", *words])
    if isinstance(done.exception, TandemError):
        raise done.exception
    return done


@pytest.mark.parametrize("tool", OUT)
def test_what_cannot_be_exported_is_named_and_the_rest_is_written(tool: str, folder: Path) -> None:
    done = export("--to", tool)
    written = (folder / OUT[tool]).read_text()
    assert "Capital?" in written
    if tool == "promptfoo":
        assert done.exit_code == 0 and "Wrote 2 of 2 questions" in done.stdout
    else:
        assert done.exit_code == 3 and "Wrote 1 of 2 questions" in done.stdout and "Not exported: b (" in done.stdout
    value = json.loads(export("--to", tool, "--force", "--json").stdout)
    assert value["num_exported"] + sum(map(len, value["left_out"].values())) == value["num_questions"] == 2


@pytest.mark.parametrize("tool", OUT)
def test_a_file_that_is_there_stays_unless_forced(tool: str, folder: Path) -> None:
    there = folder / OUT[tool]
    there.parent.mkdir(exist_ok=True)
    there.write_text("mine")
    with pytest.raises(TandemError, match="There is already"):
        export("--to", tool)
    assert there.read_text() == "mine" and len(list(there.parent.glob("*.yaml"))) == (tool == "promptfoo")
    export("--to", tool, "--force")
    assert there.read_text() != "mine"


def test_nothing_that_can_be_exported_is_an_error(folder: Path) -> None:
    (folder / "questions.jsonl").write_text(json.dumps(QUESTIONS[1]))
    with pytest.raises(TandemError, match="None of the 1 questions can be exported to lm-eval: b \\("):
        export("--to", "lm-eval")
    assert not (folder / "lm-eval").exists()


def test_the_projects_endpoint_limit_judge_and_documents_are_taken(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("Paris is the capital.")
    (folder / "tandem.yaml").write_text(
        "project: demo\nmodel: some/model\nserving: {port: 8123}\nretrieval: {sources: [docs]}\n"
        "evaluation: {max_tokens: 77, judge: {model: base, calibration: c.jsonl}}\n"
    )
    export("--to", "promptfoo", "--model", "base+demo")
    written = (folder / "promptfooconfig.yaml").read_text()
    assert written.count("http://127.0.0.1:8123/v1") == 2 and "max_tokens: 77" in written
    assert "openai:chat:base+demo" in written and "openai:chat:base\n" in written
    export("--to", "ragas")
    assert json.loads((folder / "ragas.jsonl").read_text())["reference_contexts"] == ["Paris is the capital."]


def test_the_answers_of_a_comparison_are_responses(folder: Path) -> None:
    (folder / "tandem.yaml").write_text("project: demo\nmodel: some/model\nstorage: runs\n")
    report = make_report(8, ("base", "retrieval"))
    write_reports(report, folder / "runs" / "demo" / report.run)
    asked = report.rows[0].question.model_copy(update={"answers": ("a",)})
    (folder / "questions.jsonl").write_text(asked.model_dump_json(exclude_unset=True))
    assert export("--to", "ragas", "--run", "last", "--arm", "retrieval").exit_code == 0
    row = json.loads((folder / "ragas.jsonl").read_text())
    assert row["response"] == report.rows[0].replies["retrieval"].text and row["retrieved_contexts"]
    with pytest.raises(TandemError, match="has no arm 'tuned'"):
        export("--to", "ragas", "--run", "last", "--arm", "tuned", "--force")


@pytest.mark.parametrize(
    "words", [("--to", "ragas", "--arm", "base"), ("--to", "lm-eval", "--run", "last", "--arm", "base")]
)
def test_answers_without_a_comparison_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(TandemError, match="--run and --arm"):
        export(*words)
