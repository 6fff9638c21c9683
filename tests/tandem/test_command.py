"""The command, run as a user runs it: bad input is one paragraph, exit 2, no stack trace, nothing left behind."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.registry.registry import Registry
from tests.ports import free_port

MODEL = Path(__file__).parents[2] / "examples" / "quickstart" / "model"


def tandem(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tandem", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project in which every part is as it should be."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "library.md").write_text("# Library\n\nThe opening hour of Library is 9.\n")
    row = {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    question = {"id": "1", "slice": "facts", "question": "Which?", "answers": ["9"], "reference": "9", "sources": []}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "tandem.yaml").write_text(
        f"project: small\nmodel: {MODEL}\ntraining: {{data: train.jsonl}}\nretrieval: {{sources: [docs]}}\n"
        f"serving: {{port: {free_port()}}}\nevaluation: {{questions: questions.jsonl}}\n"
    )
    return tmp_path


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a run that was refused as it should be."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    error = done.stderr[done.stderr.index("Error: ") :]
    assert "\n\n" not in error.strip()
    return " ".join(error.split())


def replace(project: Path, old: str, new: str) -> None:
    file = project / "tandem.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_no_project_file(tmp_path: Path) -> None:
    assert "tandem init" in refused(tandem(tmp_path, "compare"))


def test_a_misspelt_key(project: Path) -> None:
    replace(project, "sources:", "source:")
    error = refused(tandem(project, "compare"))
    assert "tandem.yaml:4" in error
    assert "Did you mean 'sources'?" in error


def test_a_missing_data_file(project: Path) -> None:
    (project / "train.jsonl").unlink()
    assert "train.jsonl" in refused(tandem(project, "compare"))
    assert not (project / "runs" / "small").exists()


def test_a_malformed_row_names_its_line(project: Path) -> None:
    with (project / "train.jsonl").open("a") as file:
        file.write("{not json\n")
    assert "train.jsonl:2" in refused(tandem(project, "data", "check"))
    assert "train.jsonl:2" in refused(tandem(project, "train"))
    assert not (project / "runs" / "small").exists(), "nothing was started"


def test_a_malformed_question_names_its_line(project: Path) -> None:
    with (project / "questions.jsonl").open("a") as file:
        file.write("[]\n")
    assert "questions.jsonl:2" in refused(tandem(project, "compare"))


def test_a_model_folder_without_a_config(project: Path) -> None:
    (project / "empty").mkdir()
    replace(project, str(MODEL), "./empty")
    assert "holds no config.json" in refused(tandem(project, "compare"))
    assert not (project / "runs" / "small").exists()


def test_a_busy_port(project: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        text = (project / "tandem.yaml").read_text()
        (project / "tandem.yaml").write_text(text.replace(text.split("port: ")[1].split("}")[0], str(port)))
        assert f"Port {port}" in refused(tandem(project, "compare"))
    assert not (project / "runs" / "small").exists()


@pytest.mark.slow
def test_an_unreachable_milvus(project: Path) -> None:
    replace(project, "sources: [docs]", f'sources: [docs], uri: "http://127.0.0.1:{free_port()}"')
    assert "127.0.0.1" in refused(tandem(project, "index"))


def test_storage_that_cannot_be_written(project: Path) -> None:
    (project / "runs").write_text("a file")
    assert "cannot be written" in refused(tandem(project, "compare"))


def test_an_adapter_that_is_not_there(project: Path) -> None:
    assert "There is no adapter nobody@3" in refused(tandem(project, "adapters", "promote", "nobody@3"))
    assert "names no version" in refused(tandem(project, "adapters", "promote", "nobody"))


def test_a_failed_gate_is_passed_by_with_a_reason_only(project: Path) -> None:
    registry = Registry(project / "runs" / "adapters")
    (project / "files").mkdir()
    fields = {"base_model": "m", "base_digest": "b", "method": "lora", "rank": 8, "template_hash": "t",
              "prompt_hash": None, "data_digest": "d", "fingerprint": "f", "metrics": {}}  # fmt: skip
    for number in range(2):
        registry.publish("small", project / "files", promote=number == 0, **fields)
    registry.record_gates("small", 2, [{"name": "slice form", "passed": False, "seen": "-0.20."}])
    error = refused(tandem(project, "adapters", "promote", "small@2"))
    assert "small@2 failed 1 of 1 gates. slice form: -0.20." in error
    assert "is empty" in refused(tandem(project, "adapters", "promote", "small@2", "--despite", " "))
    assert registry.resolve("small").version == 1
    done = tandem(project, "adapters", "promote", "small@2", "--despite", "The form is gone.")
    assert (done.returncode, done.stdout.strip()) == (0, "small@2 is live. It failed: slice form.")
    listed = json.loads(tandem(project, "adapters", "list", "--json").stdout)
    assert [row["gates"] and row["gates"]["despite"][0]["reason"] for row in listed] == [None, "The form is gone."]
    assert tandem(project, "adapters", "promote", "small@1").returncode == 0


def test_json_alone_on_standard_output(project: Path) -> None:
    done = tandem(project, "data", "check", "--json")
    checked = json.loads(done.stdout)
    assert (checked["num_rows"], checked["num_questions"], checked["bad"]) == (1, 1, [])
    assert checked["sources"][0]["format"] == "chat messages"
    assert done.returncode == 0


def test_data_check_shows_what_is_learnt_and_lists_bad_rows_last(project: Path) -> None:
    row = json.dumps({"prompt": "What is one and one?", "completion": "It is two."})
    forged = json.dumps({"prompt": "Is it one?<|end|>", "completion": "It is."})
    (project / "train.jsonl").write_text(f"{row}\n{row}\n{{}}\n{forged}\n")
    done = tandem(project, "data", "check")
    assert done.returncode == 2
    assert "[[It is two.<|end|>]]" in done.stdout
    assert "train.jsonl:3: has neither" in done.stderr
    assert "Warning: Control tokens are in the text of 1 row." in done.stdout
    assert "train.jsonl:4: <|end|> (in the user message)" in done.stdout
    assert "1 rows repeat an earlier row:" in done.stdout or "1 rows are held out and trained on:" in done.stdout
    replace(project, "train.jsonl}", "train.jsonl, max_bad_rows: 1}")
    done = tandem(project, "data", "check")
    assert done.returncode == 0
    assert "1 rows cannot be used" in done.stdout


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_an_adapter_that_could_not_be_served_is_not_trained(project: Path, verb: str) -> None:
    replace(project, "data: train.jsonl", "data: train.jsonl, rank: 64")
    assert "`training.rank` is 64 and `serving.max_lora_rank` is 32" in refused(tandem(project, verb))


def test_an_unknown_adapter_is_not_exported(project: Path) -> None:
    assert "Known adapters: none yet" in refused(tandem(project, "export", "support", "--to", "out"))
    assert not (project / "out").exists()


@pytest.mark.slow
def test_a_document_is_searched_as_a_tenant_and_forgotten(project: Path) -> None:
    replace(project, "sources: [docs]", "sources: [{path: docs, tenant: acme, metadata: {year: 2024}}]")
    assert tandem(project, "index").returncode == 0
    asked = ["--tenant", "acme", "--filter", '{"type": "eq", "key": "year", "value": 2024}']
    assert "library.md" in tandem(project, "search", "When does the library open?", *asked).stdout
    assert "that it holds: library.md" in refused(tandem(project, "forget", "libary.md"))
    done = tandem(project, "forget", "library.md", "--json")
    assert json.loads(done.stdout) == {
        "source": "library.md",
        "forgotten": True,
        "num_rows": 1,
        "also": [],
        "num_answers": 0,
        "num_drafts": 0,
        "adapters": [],
        "named_in": [],
        "reasons": [],
    }
    assert "library.md: left out, since it was forgotten" in tandem(project, "index").stdout


@pytest.mark.slow
def test_a_document_that_cannot_be_read_is_told_in_a_table_and_by_the_exit_code(project: Path) -> None:
    (project / "docs" / "broken.docx").write_bytes(b"no archive")
    done = tandem(project, "index")
    assert done.returncode == 3
    assert "small is up to date but for 1 documents." in done.stdout
    assert "broken.docx: cannot be opened as docx: File is not a zip file" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    header = next(number for number, line in enumerate(lines) if line[:1] == ["added"])
    counts = next(line for line in lines[header + 1 :] if line and line[0].isdigit())
    told = dict(zip(lines[header], counts, strict=True))
    assert (told["added"], told["deleted"], told["failed"], told["chunks"]) == ("1", "0", "1", "1")


def test_a_filter_that_is_no_filter(project: Path) -> None:
    assert "The filter is malformed" in refused(tandem(project, "search", "open?", "--filter", "year == 2024"))
    assert "is empty" in refused(tandem(project, "search", "open?", "--tenant", ""))


def test_what_was_not_forgotten_is_not_taken_back(project: Path) -> None:
    assert "is not among what small has forgotten" in refused(tandem(project, "forget", "library.md", "--undo"))


def test_keys_are_made_listed_and_taken_back(project: Path) -> None:
    made = tandem(
        project, "keys", "create", "support", "--model", "base", "--tenant", "acme", "--concurrency", "2", "--json"
    )
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert key["key"].startswith(f"tdm_{key['id']}_")
    listed = tandem(project, "keys", "list", "--json")
    assert [(each["id"], each["models"], each["tenant"]) for each in json.loads(listed.stdout)] == [
        (key["id"], ["base"], "acme")
    ]
    assert "concurrency 2" in tandem(project, "keys", "list").stdout
    assert key["key"] not in listed.stdout
    assert tandem(project, "keys", "revoke", key["id"]).returncode == 0
    assert "no key" in refused(tandem(project, "keys", "revoke", key["id"]))
    assert "may ask" in tandem(project, "keys", "list").stdout
