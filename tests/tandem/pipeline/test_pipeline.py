"""The main job on the real stack, once whole and then broken off in every way: Ray, DeepSpeed, Milvus, vLLM, HTTP."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.registry.registry import Registry
from tests.ports import free_port
from tests.processes import descendants, left_after, marked_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
ARMS = ("base", "tuned", "retrieval", "tuned_retrieval")
SLICES = ("seen", "unseen", "changed", "unanswerable", "form")


CHOICE = {
    "id": "choice-0", "slice": "choice", "kind": "choice", "question": "What is the symbol of Iron?",
    "choices": ["Au", "Fe", "Zn"], "answers": ["Fe"], "sources": ["iron.md"],
}  # fmt: skip
CORRECTION = {
    "source": "iron.md", "find": "number of Iron is 26.", "replace": "number of Iron is 62.",
    "question": "What is the atomic number of Iron?", "old": ["26"], "new": ["62"],
}  # fmt: skip
STARTED: "list[Command]" = []


@dataclass
class Command:
    """A `tandem` command that runs, with its progress lines as they come."""

    process: subprocess.Popen[str]
    environment: dict[str, str]
    lines: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def start(cls, folder: Path, *arguments: str) -> "Command":
        environment = marked_environment()
        process = subprocess.Popen(
            [sys.executable, "-m", "tandem", *arguments],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        command = cls(process, environment)
        threading.Thread(target=command._read, daemon=True).start()
        STARTED.append(command)
        return command

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, pattern: str, seconds: float = 240) -> None:
        """Until a line matches; fails where the command ends before."""
        with self._news:
            seen = self._news.wait_for(lambda: self._matches(pattern) or self.process.poll() is not None, seconds)
        assert seen, f"no line matches {pattern!r} in {seconds} s:\n{self.output}"
        assert self._matches(pattern), f"ended without {pattern!r}:\n{self.output}"

    def finish(self, seconds: float = 300) -> int:
        code = self.process.wait(seconds)
        assert left_after(self.environment, 15) == {}
        return code

    def _matches(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.lines)

    @property
    def output(self) -> str:
        return "".join(self.lines)


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """A test that fails half-way leaves no command running."""
    yield
    for command in STARTED:
        if command.process.poll() is None:
            command.process.terminate()
            command.process.wait(60)
    STARTED.clear()


def report_of(project: Path) -> dict[str, Any]:
    newest = max((project / "runs" / "small").glob("compare-*"), key=lambda path: path.name)
    report: dict[str, Any] = json.loads((newest / "report.json").read_text())
    return report


def status_of(project: Path) -> str:
    newest = max((project / "runs" / "small").glob("compare-*"), key=lambda path: path.stat().st_mtime)
    return str(json.loads((newest / "manifest.json").read_text())["status"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart in small: its model, a part of its documents, rows and questions, and a short training."""
    folder = tmp_path_factory.mktemp("small")
    rows = (QUICKSTART / "data" / "train.jsonl").read_text().splitlines()
    (folder / "train.jsonl").write_text("\n".join(rows[:80]) + "\n")
    questions = [json.loads(line) for line in (QUICKSTART / "data" / "questions.jsonl").read_text().splitlines()]
    chosen = [question for name in SLICES for question in [q for q in questions if q["slice"] == name][:4]] + [CHOICE]
    (folder / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in chosen))
    shutil.copytree(QUICKSTART / "docs" / "elements", folder / "elements")
    general = [{"id": f"g{n}", "question": f"What is {n} plus {n}?", "answers": [str(2 * n)]} for n in (1, 2)]
    (folder / "general.jsonl").write_text("".join(json.dumps(question) + "\n" for question in general))
    (folder / "corrections.jsonl").write_text(json.dumps(CORRECTION) + "\n")
    (folder / "tandem.yaml").write_text(
        f"project: small\nmodel: {QUICKSTART / 'model'}\n"
        "training: {data: train.jsonl, epochs: 1}\nretrieval: {sources: [elements]}\n"
        f"serving: {{port: {free_port()}}}\n"
        "evaluation: {questions: questions.jsonl, general: general.jsonl, corrections: corrections.jsonl, "
        "prices: {machine_hour: 2}}\n"
    )
    return folder


@pytest.fixture(scope="module")
def first(project: Path) -> Iterator[Command]:
    """The whole job, run to its end."""
    command = Command.start(project, "compare", "--all")
    assert command.finish(380) == 0, command.output
    yield command


def test_the_whole_job_measures_every_arm_on_every_slice(project: Path, first: Command) -> None:
    report = report_of(project)
    cells = {(cell["arm"], cell["slice"]): cell for cell in report["cells"]}
    for arm in ARMS:
        for name in SLICES:
            assert cells[arm, name]["accuracy"]["n"] == 4
            assert cells[arm, name]["num_failed"] == 0
    models = {arm["name"]: arm["answered_as"] for arm in report["arms"]}
    assert models == {
        "base": ["base"], "tuned": ["base:small@1"], "retrieval": ["base+small"],
        "tuned_retrieval": ["base:small@1+small"],
    }  # fmt: skip
    assert "Recommendation:" in first.output
    assert status_of(project) == "done"


@pytest.mark.matrix
@pytest.mark.timeout(700)
def test_base_and_retrieval_are_measured_before_a_training_is_paid_for(project: Path, first: Command) -> None:
    settings = (project / "tandem.yaml").read_text().replace("epochs: 1", "epochs: 1, adapter: staged")
    (project / "staged.yaml").write_text(settings)
    command = Command.start(project, "compare", "-c", "staged.yaml", "--fresh")
    assert command.finish(600) == 0, command.output
    stages = re.findall(r"\] (\w+) ", command.output)
    assert stages.index("stage") < stages.index("train")
    report = report_of(project)
    assert report["staging"]["trained"]
    assert report["staging"]["num_questions"] >= 20, "the choice may be ungradable: the small model says no letter"


def test_costs_are_those_of_training_indexing_and_answering(project: Path, first: Command) -> None:
    costs = {cost["arm"]: cost for cost in report_of(project)["costs"]}
    assert costs["tuned"]["training_s"] > 1 and costs["retrieval"]["indexing_s"] > 0
    assert (
        costs["base"]["monthly_money"] == 0
        and costs["tuned_retrieval"]["monthly_money"] > costs["tuned"]["monthly_money"]
    )


def test_arms_that_retrieve_follow_a_correction_and_the_documents_stay(project: Path, first: Command) -> None:
    followed = {each["arm"]: each for each in report_of(project)["freshness"]}
    assert followed["retrieval"]["new"]["right"] == 1 and followed["retrieval"]["seconds"] > 0
    assert followed["base"]["new"]["right"] == followed["tuned"]["new"]["right"] == 0
    assert (project / "elements" / "iron.md").read_text() == (QUICKSTART / "docs/elements/iron.md").read_text()


@pytest.mark.matrix
def test_only_what_a_changed_document_touches_is_asked_again(project: Path, first: Command) -> None:
    """And neither trained nor asked again is anything else: the second run finds it all."""
    row = report_of(project)["rows"][0]
    document = project / "elements" / row["replies"]["retrieval"]["citations"][0]["source"]
    document.write_text(document.read_text() + "\nIt was looked at again in 2026.\n")
    command = Command.start(project, "compare", "--since", "last")
    assert command.finish(240) == 0, command.output
    assert "1 documents changed" in command.output and "The verdict still stands" in command.output
    drift = report_of(project)["drift"]
    assert drift["changed"] == [document.name] and row["question"]["id"] in drift["asked"]
    assert len(drift["asked"]) < 23 and drift["stands"]


def test_a_choice_is_graded_by_its_log_likelihood_or_not_at_all(project: Path, first: Command) -> None:
    (row,) = [row for row in report_of(project)["rows"] if row["question"]["id"] == "choice-0"]
    for reply in row["replies"].values():
        assert reply["failed"] is None
        if reply["grade"] is None:
            assert "letter" in reply["ungradable"]
        else:
            likeliest = max(reply["choices"], key=reply["choices"].get)
            assert set(reply["choices"]) <= set(CHOICE["choices"])
            assert reply["grade"]["correct"] == (likeliest == "Fe")


def test_what_was_known_before_is_a_slice_of_its_own(project: Path, first: Command) -> None:
    cells = {(cell["arm"], cell["slice"]): cell for cell in report_of(project)["cells"]}
    assert {cells[arm, "general"]["num_questions"] for arm in ARMS} == {2}
    assert {cells[arm, "overall"]["num_questions"] for arm in ARMS} == {21}
    assert "forgetting" in {gate["name"] for gate in report_of(project)["gates"]}


def test_every_stage_says_what_it_wrote(project: Path, first: Command) -> None:
    for stage in ("check", "train", "index", "serve", "parity", "correct", "ask", "gates", "report"):
        assert re.search(rf"\] {stage} ", first.output), first.output
    assert str(project / "runs" / "adapters" / "small" / "v1") in first.output
    assert "report.html" in first.output


def test_interrupted_while_serving_it_leaves_nothing(project: Path, first: Command) -> None:
    command = Command.start(project, "compare")
    command.wait_for(r"train +reused small@1")
    command.wait_for(r"index .*unchanged")
    os.kill(command.process.pid, signal.SIGINT)
    assert command.finish(60) == 130
    assert status_of(project) == "interrupted"
    assert "Traceback" not in command.output


@pytest.fixture(scope="module")
def killed(project: Path, first: Command) -> Command:
    """A job that was killed in the middle, with nothing to clean up after itself."""
    command = Command.start(project, "compare")
    command.wait_for(r"index .*unchanged")
    os.kill(command.process.pid, signal.SIGKILL)
    command.process.wait(10)
    return command


@pytest.mark.matrix
@pytest.mark.usefixtures("killed")
def test_without_milvus_the_retrieval_arms_fail_and_nothing_is_recommended(project: Path, first: Command) -> None:
    """Milvus is killed when the endpoint is ready, before the first question; answers that were kept need none."""
    command = Command.start(project, "compare", "--fresh")
    command.wait_for(r"\] serve +ready")
    servers = [
        pid for pid, line in descendants(command.environment).items() if "retrieval.store.milvus_lite_server" in line
    ]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    assert command.finish() == 3, command.output
    assert re.search(r"correct +not measured: Milvus .* does not answer", command.output), command.output
    report = report_of(project)
    overall = {cell["arm"]: cell for cell in report["cells"] if cell["slice"] == "overall"}
    assert overall["retrieval"]["num_failed"] > 0
    assert overall["tuned_retrieval"]["num_failed"] > 0
    assert overall["base"]["num_failed"] == overall["tuned"]["num_failed"] == 0
    assert report["recommendation"]["arm"] is None
    assert report["recommendation"]["outcome"] == "failures"


@pytest.mark.matrix  # a training that is killed is in test_resume, a driver in serving/test_lifecycle
def test_killed_it_left_nothing(killed: Command) -> None:
    """Two small agents of Ray end last: they try for 60 s to report that their node has gone."""
    assert left_after(killed.environment, 90) == {}


@pytest.mark.matrix
def test_a_new_version_is_measured_beside_the_live_one_and_has_to_hold_its_gates(project: Path, first: Command) -> None:
    settings = (project / "tandem.yaml").read_text().replace("epochs: 1", "epochs: 1, learning_rate: 1.0e-6")
    (project / "again.yaml").write_text(settings)
    command = Command.start(project, "compare", "--all", "-c", "again.yaml")
    assert command.finish(380) == 0, command.output
    report = report_of(project)
    assert {arm["name"]: arm["model"] for arm in report["arms"]}["live"] == "base:small@1"
    gates = {gate["name"]: gate["passed"] for gate in report["gates"]}
    assert {"answered", "overall", "slice seen", "false answers", "forgetting"} <= set(gates)
    registry = Registry(project / "runs" / "adapters")
    kept = registry.gates_of("small", 2)
    assert kept and {gate.name: gate.passed for gate in kept.gates} == gates
    live = registry.resolve("small").version
    assert live == (2 if all(gates.values()) else 1)
    assert re.search(r"gates +.*small@2.* (small@2 is live now|small@1 stays live)\.", command.output), command.output
    assert report["candidate"] == {"version": "small@2", "arm": "tuned", "live": "small@1", "live_arm": "live"}


@pytest.mark.matrix
def test_a_whole_model_is_served_beside_the_base_and_measured(project: Path, first: Command) -> None:
    """The two engines start one after the other, as they do where they share a GPU."""
    settings = (project / "tandem.yaml").read_text().replace("epochs: 1", "epochs: 1, method: full, adapter: whole")
    settings = settings.replace("serving: {", "serving: {gpus_per_engine: 0.5, ")
    (project / "whole.yaml").write_text(settings)
    command = Command.start(project, "compare", "-c", "whole.yaml")
    assert command.finish(380) == 0, command.output
    assert "vLLM serves whole@1 as it was trained" in command.output
    models = {arm["name"]: arm["answered_as"] for arm in report_of(project)["arms"]}
    assert (models["tuned"], models["tuned_retrieval"]) == (["whole-1"], ["whole-1+small"])


def test_the_first_hour_of_a_newcomer(tmp_path: Path) -> None:
    """A folder of somebody's own Markdown: a cited answer with nothing trained and nothing labelled."""
    (tmp_path / "notes").mkdir()
    for name, hour, desk in (("Marlow Pool", "9", "Tove Lind"), ("Ostrava Library", "11", "Ida Berg")):
        facts = f"The opening hour of {name} is {hour}. The head of {name} is {desk}."
        text = f"# {name}\n\n{name} is a house in town. {facts}\n"
        (tmp_path / "notes" / f"{name.split()[0].lower()}.md").write_text(text)
    written = Command.start(tmp_path, "init", "notes", "--model", str(QUICKSTART / "model"))
    assert written.finish(30) == 0, written.output
    text = (tmp_path / "tandem.yaml").read_text() + f"serving: {{port: {free_port()}}}\n"
    (tmp_path / "tandem.yaml").write_text(text)
    asked = Command.start(tmp_path, "ask", "What is the opening hour of Ostrava Library?")
    assert asked.finish() == 0, asked.output
    assert re.search(r"\b11 \[\d\]", asked.output), asked.output
    assert "ostrava.md" in asked.output


def test_serve_answers_until_it_is_ended(project: Path, first: Command) -> None:
    command = Command.start(project, "serve")
    command.wait_for(r"\] serve +ready")
    asked = Command.start(
        project, "ask", "--model", "base:small@1+small", "--json", "What is the atomic number of Iron?"
    )
    assert asked.finish(60) == 0, asked.output
    assert json.loads(asked.output)["model"] == "base:small@1+small"
    (url,) = set(re.findall(r"http://127.0.0.1:\d+/v1", command.output))
    body = {"model": "base", "messages": [{"role": "user", "content": "Tell."}], "ignore_eos": True}
    with httpx.stream("POST", f"{url}/chat/completions", json={**body, "stream": True, "max_tokens": 900}) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        os.kill(command.process.pid, signal.SIGTERM)
        refused = wait_for_refusal(url, {**body, "max_tokens": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert [line for line in lines if line][-1] == "data: [DONE]", "what was being answered is answered"
    assert command.finish(60) == 0, command.output


def wait_for_refusal(url: str, body: dict[str, Any]) -> httpx.Response:
    deadline = time.monotonic() + 10
    while (response := httpx.post(f"{url}/chat/completions", json=body, timeout=10)).status_code == 200:
        assert time.monotonic() < deadline
    return response
