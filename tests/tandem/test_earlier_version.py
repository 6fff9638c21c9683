"""Project files, adapters, keys and run folders of an earlier version are still read (earlier_version/README.md)."""

import fcntl
import importlib
import json
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluation.reporting.report import write_reports
from evaluation.results import Report
from tests.ports import free_port
from tests.tandem.earlier import EARLIER, VARIABLES, contents, depot, python, support, tandem

PROJECTS = sorted(EARLIER.glob("projects/*.yaml"))
REPORTS = {path.parent.name: path for path in EARLIER.glob("**/compare-*/report.json")}
SIX_ARMS, WITH_LIVE, WINNER = sorted(REPORTS)
OLD_ARM, NEW_ARM, TITLE = "hybrid", "tuned_retrieval", "tuned + retrieval"
SECTIONS = {
    "cluster": "ClusterConfig", "training": "TrainingConfig", "retrieval": "RetrievalConfig",
    "serving": "ServingConfig", "evaluation": "EvaluationConfig",
}  # fmt: skip
DECIDE_A_TRAINING = ("torch", "transformers", "peft", "deepspeed")


# Project files


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: file.stem)
def test_a_project_file_is_read(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "tandem.yaml")
    done = tandem(tmp_path, "adapters", "list")
    assert (done.code, done.out) == (0, "No adapter is published yet. Train one with `tandem train`."), done.err


def test_settings_mean_what_they_meant() -> None:
    text = (EARLIER / "projects" / "every-setting.yaml").read_text()
    for name, value in VARIABLES.items():
        text = text.replace(f"${{{name}}}", value)
    written = yaml.safe_load(text)
    meant = json.loads((EARLIER / "projects" / "every-setting.resolved.json").read_text())
    meant["training"]["tune"] = meant["training"].pop("search")
    for section, name in SECTIONS.items():
        config = getattr(importlib.import_module(f"{section}.config"), name)
        found = config.model_validate(written[section], context={"folder": Path("/srv/tandem/project")})
        assert list(differences(meant[section], found.model_dump(mode="json"), section)) == []


@pytest.mark.parametrize("name", ["all-arms", "every-setting", "other-settings"])
def test_the_arm_that_was_called_hybrid_is_read_with_a_note(name: str, tmp_path: Path) -> None:
    shutil.copy(EARLIER / "projects" / f"{name}.yaml", tmp_path / "tandem.yaml")
    assert NEW_ARM in tandem(tmp_path, "adapters", "list").err


def test_the_setting_that_was_called_search_is_read_with_a_note(tmp_path: Path) -> None:
    shutil.copy(EARLIER / "projects" / "every-setting.yaml", tmp_path / "tandem.yaml")
    notes = [line for line in tandem(tmp_path, "adapters", "list").err.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 2 and notes[1].endswith("`training.search` is now called `training.tune`. Change that line.")


@pytest.mark.parametrize("settings", ["", "retrieval: {mode: hybrid}\n", "evaluation: {arms: [base, retrieval]}\n"])
def test_without_that_arm_there_is_no_note(settings: str, tmp_path: Path) -> None:
    (tmp_path / "tandem.yaml").write_text(f"model: Qwen/Qwen3-0.6B\n{settings}")
    done = tandem(tmp_path, "adapters", "list")
    assert done.code == 0 and OLD_ARM not in done.err and NEW_ARM not in done.err


# Published adapters


def test_versions_with_their_shares_checks_and_gates(tmp_path: Path) -> None:
    listed = json.loads(tandem(support(tmp_path), "adapters", "list", "--json").out)
    assert [(row["adapter"], row["live"], row["share"], row["rank"]) for row in listed] == [
        ("support@1", True, 90.0, 1), ("support@2", True, 10.0, 1), ("support-raft@1", True, 100.0, 1),
    ]  # fmt: skip
    assert [round(row["parity"]["mean_difference"], 4) for row in listed] == [0.0129, 0.0166, 0.0074]
    gates = [row["gates"] and {gate["name"]: gate["passed"] for gate in row["gates"]["gates"]} for row in listed]
    assert gates[0] == {"answered": False, "forgetting": True} and gates[2] is None
    assert len(gates[1]) == 8 and all(gates[1].values())
    assert listed[1]["gates"]["run"] == WITH_LIVE and listed[1]["metrics"]["num_rows"] == 12


def test_an_alias_that_was_split_is_pointed_at_one_version(tmp_path: Path) -> None:
    alias = support(tmp_path) / "storage" / "adapters" / "support" / "aliases" / "live.json"
    assert tandem(tmp_path, "adapters", "promote", "support@2").out == "support@2 is live."
    assert json.loads(alias.read_text()) == {"version": 2, "before": [1]}
    done = tandem(tmp_path, "adapters", "promote", "support@1")
    assert done.out == "support@1 is live. It failed: answered.", "what was live before is not refused"
    alias.unlink()
    refused = tandem(tmp_path, "adapters", "promote", "support@1")
    assert refused.code == 2 and "support@1 failed 1 of 2 gates. answered: 1 of 8 calls" in refused.err


def test_an_adapter_fits_the_model_that_is_served(tmp_path: Path) -> None:
    """By the digests of weights, chat template and prompt, and by its rank."""
    file = support(tmp_path) / "tandem.yaml"
    settings = yaml.safe_load(file.read_text())
    del settings["retrieval"]
    file.write_text(yaml.safe_dump(settings | {"serving": {"port": free_port()}}))
    done = tandem(tmp_path, "serve", "--check")
    assert done.code == 0, done.err
    assert "base:support is support@1" in done.err and "base:support-raft is support-raft@1" in done.err
    assert "2 API keys" in done.err


def test_an_adapter_is_exported_file_by_file(tmp_path: Path) -> None:
    version = support(tmp_path) / "storage" / "adapters" / "support" / "v2"
    assert tandem(tmp_path, "export", "support@2", "--to", "out").code == 0
    assert contents(tmp_path / "out") == contents(version)
    assert {"adapter_model.safetensors", "trained.jsonl", "parity.jsonl"} < set(contents(tmp_path / "out"))


def test_what_an_adapter_was_trained_on_is_known(tmp_path: Path) -> None:
    """By its trained.jsonl alone, word for word and nearly."""
    asked = {"same": "I need the closing hour of Library.", "near": "please, I need the closing hour of  Library",
             "other": "Who founded the Library?"}  # fmt: skip
    rows = [{"id": id, "slice": "hours", "question": text, "answers": ["18"]} for id, text in asked.items()]
    (support(tmp_path) / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tandem.yaml").write_text(
        "project: support\nmodel: ./model\nstorage: ./storage\nevaluation: {questions: questions.jsonl}\n"
    )
    done = tandem(tmp_path, "questions", "check", "--json")
    assert done.code == 2, done.out
    assert {leak["question"] for leak in json.loads(done.out)["leaks"]} == {"same", "near"}


# Keys, forgotten documents, drafts


def test_keys_are_listed_and_revoked(tmp_path: Path) -> None:
    keys = {key["name"]: key for key in json.loads(tandem(support(tmp_path), "keys", "list", "--json").out)}
    first, second = keys["Front desk"], keys["Everything"]
    assert (first["models"], first["collections"]) == (["base", "base:support"], ["support"])
    assert (first["tenant"], first["labels"], first["keep"]) == ("acme", ["staff"], True)
    assert list(first["limits"].values()) == [60, 20_000, 1_000_000, 4]
    assert second["models"] is None and not any(second["limits"].values())
    assert tandem(tmp_path, "keys", "revoke", first["id"]).out == f"{first['id']} (Front desk) is revoked."
    assert [key["name"] for key in json.loads(tandem(tmp_path, "keys", "list", "--json").out)] == ["Everything"]


def test_what_was_forgotten_is_taken_back(tmp_path: Path) -> None:
    refused = tandem(support(tmp_path), "forget", "--undo", "library.md")
    assert refused.code == 2 and "Forgotten: old-bakery.md." in refused.err
    assert tandem(tmp_path, "forget", "--undo", "old-bakery.md").code == 0
    assert json.loads((tmp_path / "storage" / "forgotten" / "support.json").read_text()) == {"forgotten": []}


def test_a_draft_of_questions_is_accepted(tmp_path: Path) -> None:
    done = tandem(support(tmp_path), "questions", "accept", "questions.draft.jsonl", "--out", "accepted.jsonl")
    assert done.out == "accepted.jsonl holds 7 questions.", done.err
    assert '"answers": ["21"]' in (tmp_path / "accepted.jsonl").read_text()


# Run folders


@pytest.mark.parametrize(
    ("run", "headline", "lines"),
    [
        (WINNER, "Use tuned + retrieval.", ["| base | 0 % |", "| **tuned + retrieval** | **100 %** |"]),
        (SIX_ARMS, "No recommendation: too many calls failed.", ["| tuned + retrieval |", "| tuned for retrieval |"]),
        (WITH_LIVE, "Not enough questions to tell", ["| tuned + retrieval |", "| live version |"]),
    ],
)
def test_the_table_of_an_earlier_report(run: str, headline: str, lines: list[str], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:start -->\n<!-- results:end -->\n")
    done = python("-m", "evaluation.reporting.readme_table", str(REPORTS[run]), str(readme))
    assert done.returncode == 0, done.stderr
    table = readme.read_text().replace(" % (", " % | (")
    assert headline in table and all(line in table for line in lines), table


def test_an_earlier_run_stands_beside_a_new_one_arm_under_arm(tmp_path: Path) -> None:
    runs = support(tmp_path) / "storage" / "support"
    report = Report.model_validate_json((runs / WITH_LIVE / "report.json").read_bytes())
    write_reports(report, runs / WITH_LIVE)
    before, now = earlier_runs(runs / WITH_LIVE / "report.md")
    assert now[TITLE] and before[TITLE] and not {OLD_ARM, NEW_ARM} & now.keys()
    assert before["note"] == "other questions", "which is all that keeps the two apart"


def test_an_interrupted_training_is_found(tmp_path: Path) -> None:
    """A lock stands for a process that is still at it: so the command ends before Ray starts."""
    (run,) = depot(tmp_path).glob("storage/depot/train-*")
    with (run / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = tandem(tmp_path, "train", "--resume")
    found = f"The run {run} is still going on in another process."
    changed = f"The training {run.name} was started with other data, settings, packages or another model."
    # Once one of these packages is upgraded, another training would come out, and it has to be refused.
    packages = json.loads((run / "manifest.json").read_text())["versions"]
    same = all(version(package) == packages[package] for package in DECIDE_A_TRAINING)
    assert done.code == 2 and (found if same else changed) in done.err
    file_text = (tmp_path / "tandem.yaml").read_text()
    (tmp_path / "tandem.yaml").write_text(file_text.replace("epochs: 30", "epochs: 31"))
    refused = tandem(tmp_path, "train", "--resume")
    assert refused.code == 2 and changed in refused.err


@pytest.mark.slow
def test_documents_are_found_in_the_earlier_index(tmp_path: Path) -> None:
    found = json.loads(tandem(support(tmp_path), "search", "When does the museum open?", "--json").out)
    assert found["hits"][0]["source"] == "museum.md"


@pytest.mark.slow
def test_all_that_is_kept_of_a_document_is_forgotten(tmp_path: Path) -> None:
    """Its rows in the index, the answers that were given from it, and what adapters know of it."""
    assert json.loads(tandem(support(tmp_path), "forget", "museum.md", "--json").out) == {
        "source": "museum.md", "forgotten": True, "num_rows": 1, "also": [], "num_answers": 55, "num_drafts": 1,
        "adapters": ["support@1", "support@2", "support-raft@1"], "reasons": [],
        "named_in": [
            "1 question in questions.jsonl", *(f"the report of {run}" for run in sorted({SIX_ARMS, WITH_LIVE})),
        ],
    }  # fmt: skip


@pytest.mark.slow
def test_compare_reads_an_earlier_run_its_documents_and_its_adapter(tmp_path: Path) -> None:
    """Up to the endpoint, which a missing version keeps from starting: of the run's arms only `hybrid` names that."""
    (support(tmp_path) / "storage" / "adapters" / "support" / "v2" / "manifest.json").unlink()
    done = python("-m", "tandem", "compare", "--since", WITH_LIVE, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "support: 4 added, 0 failed, 1 left out as forgotten" in done.stderr, "words are analysed anew"
    assert "There is no adapter support@2." in done.stderr


@pytest.mark.slow
@pytest.mark.matrix
def test_an_interrupted_training_is_ended(tmp_path: Path) -> None:
    (metrics,) = depot(tmp_path).glob("storage/depot/train-*/metrics.jsonl")
    before = metrics.read_text()
    done = python("-m", "tandem", "train", "--resume", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "going on from step 40 of" in done.stderr and "published depot@1" in done.stderr
    assert metrics.read_text().startswith(before)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("more", [[], ["--since", WITH_LIVE]], ids=["again", "since"])
def test_a_comparison_goes_on_from_the_earlier_one(tmp_path: Path, more: list[str]) -> None:
    """vLLM answers. Nothing is trained again, and nothing is asked again but of an index, which knows its folder."""
    versions = support(tmp_path) / "storage" / "adapters" / "support"
    assert tandem(tmp_path, "forget", "--undo", "old-bakery.md").code == 0
    assert tandem(tmp_path, "adapters", "promote", "support@2").code == 0
    done = python("-m", "tandem", "compare", "--all", "--json", *more, cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(path.name for path in versions.glob("v*")) == ["v1", "v2"]
    names = [arm["name"] for arm in report["arms"]]
    assert names[:3] == ["base", "few_shot", "retrieval"] and names[3] in (OLD_ARM, NEW_ARM)
    if more:
        assert (report["drift"]["since"], report["drift"]["asked"]) == (WITH_LIVE, [])
    else:
        assert "reused support@2: data, model and settings have not changed" in done.stderr
        assert [arm["num_reused"] for arm in report["arms"]][:2] == [15, 15]
    runs = list(earlier_runs(tmp_path / "storage" / "support" / report["run"] / "report.md"))
    assert [bool(run[TITLE]) for run in runs] == [True] * 3 and not {OLD_ARM, NEW_ARM} & runs[0].keys()


def differences(meant: Any, found: Any, where: str) -> Iterator[str]:
    """What a setting has become, where that is not what it was. Settings that are new since then may be there."""
    if isinstance(meant, dict) and isinstance(found, dict):
        for name, value in meant.items():
            yield from differences(value, found.get(name, "not there"), f"{where}.{name}")
    elif isinstance(meant, list) and isinstance(found, list) and len(meant) == len(found):
        for number, (before, now) in enumerate(zip(meant, found, strict=True)):
            yield from differences(before, now, f"{where}.{number}")
    elif meant != found and not (where.startswith("evaluation.arms.") and (meant, found) == (OLD_ARM, NEW_ARM)):
        yield f"{where} was {meant} and is {found}"


def earlier_runs(report: Path) -> Iterator[dict[str, str]]:
    """The lines of the table with earlier runs, each as cells by their heading, the oldest first."""
    table = report.read_text().partition("## Earlier runs")[2].partition("## ")[0]
    head, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line)
    assert len(set(head)) == len(head), head
    yield from (dict(zip(head, line, strict=True)) for line in reversed(lines))
