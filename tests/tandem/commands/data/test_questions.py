"""`tandem questions`, run as a user runs it: build, approve, accept, split, check."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.endpoint import Endpoint, completion

DOCUMENT = (
    "# Library\n\nOpening hour: 9\nPhone: 555-0100\nFloor: 2\n\n"
    "The library keeps books for all who like to read, and lends them for a month.\n"
)


def tandem(folder: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tandem", "questions", *arguments],
        cwd=folder, env={**os.environ, "COLUMNS": "200"}, input=typed, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr[done.stderr.index("Error: ") :].split())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "library.md").write_text(DOCUMENT)
    (tmp_path / "docs" / "hall.md").write_text("# Hall\n\nSeats: 40\n")
    (tmp_path / "tandem.yaml").write_text(
        "model: some/model\nretrieval: {sources: [docs]}\nevaluation: {questions: questions.jsonl}\n"
    )
    return tmp_path


def test_from_documents_to_approved_questions(project: Path) -> None:
    built = tandem(project, "build")
    assert built.returncode == 0, built.stderr
    assert "Drafted 4 questions into questions.draft.jsonl." in built.stdout
    draft = project / "questions.draft.jsonl"
    assert {row["approved"] for row in lines(draft)} == {None}
    for row in lines(draft):
        text = (project / "docs" / row["span"]["source"]).read_text()
        assert [text[row["span"]["start"] : row["span"]["end"]]] == row["answers"]

    assert "have not been decided on" in refused(tandem(project, "accept", str(draft)))
    first = tandem(project, "approve", str(draft), typed="y\ns\nq\n")
    assert "1 approved, 0 left out, 3 to decide on." in first.stdout
    second = tandem(project, "approve", str(draft), typed="e\nWhich is it?\n | \n\n\ne\n\n7 | seven\n\nmine\ny\ny\nn\n")
    assert "3 approved, 1 left out, 0 to decide on." in second.stdout, second.stderr
    assert "Not kept:" in second.stderr
    assert "1 of 3" in second.stderr
    shown = next(line for line in second.stderr.splitlines() if "Question: " in line and "[" not in line)
    assert shown.index(".md") < shown.index("Question: "), "the passage is beside the draft"

    accepted = tandem(project, "accept", str(draft))
    assert accepted.returncode == 0, accepted.stderr
    questions = lines(project / "questions.jsonl")
    assert len(questions) == 3
    assert not any({"approved", "span"} & row.keys() for row in questions)
    (edited,) = [row for row in questions if row["answers"] == ["7", "seven"]]
    assert edited["slice"] == "mine"


def test_a_file_that_cannot_be_read_stops_nothing_and_is_named(project: Path) -> None:
    (project / "docs" / "old.md").write_bytes("# Bücher\n\nSeats: 7\n".encode("latin-1"))
    (project / "docs" / "long.md").write_text("Seats: 40\n" * 100_001)
    built = tandem(project, "build")
    assert built.returncode == 0, built.stderr
    assert "Drafted 4 questions" in built.stdout
    assert "not read: old.md (not UTF-8 at byte 4)" in built.stderr
    assert "not read: long.md (more than a million characters)" in built.stderr


def test_split_writes_both_sides_and_replaces_nothing(project: Path) -> None:
    rows = [{"id": f"{n}", "slice": "s", "question": f"Q{n}?", "answers": ["a"], "sources": [f"{n // 2}.md"]}
            for n in range(20)]  # fmt: skip
    (project / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("split", "questions.jsonl", "--out-train", "t.jsonl", "--out-test", "q.jsonl", "--seed", "3")
    assert "14 rows to train on in t.jsonl, 6 questions in q.jsonl" in tandem(project, *arguments).stdout
    trained, tested = lines(project / "t.jsonl"), lines(project / "q.jsonl")
    assert {source for row in trained for source in row["sources"]}.isdisjoint(row["sources"][0] for row in tested)
    assert "There is already a file t.jsonl" in refused(tandem(project, *arguments))


def test_check_reports_and_a_leak_is_refused(project: Path) -> None:
    question = {"id": "q1", "slice": "s", "question": "What is the opening hour of Library?", "answers": ["8"],
                "sources": ["library.md"]}  # fmt: skip
    (project / "questions.jsonl").write_text(json.dumps(question) + "\n")
    clean = tandem(project, "check", "--json")
    assert clean.returncode == 0, clean.stderr
    found = json.loads(clean.stdout)
    assert (found["stale"], found["leaks"], found["num_trained"]) == (["q1"], [], 0)

    row = {"prompt": "Please: what is an opening hour of library", "completion": "9", "id": "r1"}
    (project / "train.jsonl").write_text(json.dumps(row) + "\n")
    (project / "tandem.yaml").write_text((project / "tandem.yaml").read_text() + "training: {data: train.jsonl}\n")
    leak = tandem(project, "check")
    assert "1 of 1 test questions were trained on: q1 is nearly training row r1 (similarity 1.00" in refused(leak)
    assert "does not stand in their documents: q1" in leak.stdout


def test_bad_input_is_one_paragraph(project: Path) -> None:
    (project / "questions.jsonl").write_text('{"id": "a", "approved": null}\n')
    assert "is a draft" in refused(tandem(project, "check"))
    assert "cannot be read" in refused(tandem(project, "approve", "gone.jsonl"))
    assert "--url names an endpoint and no model" in refused(tandem(project, "build", "--url", "http://127.0.0.1:9/v1"))
    assert "There is already a file questions.jsonl" in refused(tandem(project, "build", "--out", "questions.jsonl"))
    for file in (project / "docs").iterdir():
        file.unlink()
    assert "No document could be read" in refused(tandem(project, "build"))
    assert not (project / "questions.draft.jsonl").exists()


def test_an_endpoint_that_is_not_there_leaves_what_the_templates_drafted(project: Path) -> None:
    for number in range(6):
        (project / "docs" / f"{number}.md").write_text(f"In room {'abcdef'[number]} " + "people read. " * 9)
    done = tandem(project, "build", "--model", "m", "--url", "http://127.0.0.1:9/v1")
    assert done.returncode == 3, done.stderr
    assert "because the call failed" in done.stdout
    assert "the model was not asked any more" in done.stderr
    assert len(lines(project / "questions.draft.jsonl")) == 4


def test_a_hosted_model_drafts_with_its_key_and_settings(project: Path) -> None:
    hosted = Endpoint(lambda model, text: completion(model, "no")).start()
    settings = f"{{url: '{hosted.url}', model: large-2, api_key: key-77, parameters: {{temperature: null}}}}"
    (project / "tandem.yaml").write_text(
        f"model: some/model\nretrieval: {{sources: [docs]}}\nevaluation: {{endpoints: {{large: {settings}}}}}\n"
    )
    done = tandem(project, "build", "--model", "large")
    hosted.shutdown()
    hosted.server_close()
    assert done.returncode == 0, done.stderr
    assert {(body["model"], body["authorization"]) for body in hosted.bodies} == {("large-2", "Bearer key-77")}
    assert not any("temperature" in body for body in hosted.bodies)


def test_ctrl_c_leaves_nothing_half_written(project: Path) -> None:
    def files() -> list[Path]:
        return sorted(path for path in project.rglob("*") if path.is_file())

    before = files()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        command = [sys.executable, "-m", "tandem", "questions", "build", "--model", "m", "--url", url]
        process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
        silent.settimeout(60)
        connection, _ = silent.accept()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert files() == before
