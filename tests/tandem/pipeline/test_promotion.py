"""Which version goes live at an endpoint that serves copies of the base, other models, or less than was trained."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from serving.client import AskFailed, connect
from serving.parity_replay import replay_parity
from tandem.compare.check import CheckedData
from tandem.compare.steps import Comparison
from tandem.console import Console
from tandem.pipeline.endpoint import Served
from tandem.pipeline.parity_check import ServedModel, ensure_parity
from tandem.pipeline.training import train
from tandem.project.project import Project, load
from training.run import prepare_run

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
COPY = {"models": {"base": "./fp8"}, "copy_of": {"base": str(QUICKSTART / "model")}}
TOO_LONG = "This model's maximum context length is 9 tokens. However, you requested 1 output tokens."
Server = Callable[..., str]


@pytest.fixture
def endpoint() -> Iterator[Server]:
    """Starts an endpoint whose models give every token a log-probability of their own; the URL."""
    started = []

    def start(logprobs: dict[str, float], max_model_len: int = 1000, refusal: str = TOO_LONG) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                tokens = asked["prompt"]
                places = [None, *({str(token): {"logprob": logprobs[asked["model"]]}} for token in tokens[1:])]
                choice = {"index": 0, "finish_reason": "length", "text": "", "prompt_logprobs": places}
                body: dict[str, Any] = {
                    "id": "c", "object": "text_completion", "created": 0, "model": asked["model"], "choices": [choice]
                }  # fmt: skip
                fits = len(tokens) + asked["max_tokens"] <= max_model_len
                content = json.dumps(body if fits else {"error": {"message": refusal}}).encode()
                self.send_response(200 if fits else 400)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def project_in(folder: Path, serving: dict[str, Any], **training: Any) -> Project:
    for name in ("fp8", "unrelated"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps({"name": name}))
        (folder / name / "model.safetensors").write_bytes(name.encode())
    rows = [{"id": f"row-{n}", "source": f"{n}.md", "messages": [{"role": "user", "content": f"Which is {n}?"},
             {"role": "assistant", "content": f"It is {n}."}]} for n in range(20)]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tandem.yaml").write_text(json.dumps({
        "project": "demo", "model": str(QUICKSTART / "model"), "storage": "./runs", "serving": serving,
        "training": {"data": "rows.jsonl", **training}, "evaluation": {"arms": ["base", "tuned"]},
    }))  # fmt: skip
    return load(folder / "tandem.yaml")


def publish(project: Project, kind: str, lengths: tuple[int, ...] = (4, 6)) -> AdapterVersion:
    """Not live, with log-probabilities of 0 for each token of what was trained and of its base."""
    files = project.path.parent / f"files-{kind}"
    files.mkdir(exist_ok=True)
    rows = [{"prompt_token_ids": [1, 2], "answer_token_ids": [*range(3, length + 1)], "logprobs": [0.0] * (length - 2),
             "base_logprobs": [0.0] * (length - 2)} for length in lengths]  # fmt: skip
    (files / "parity.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Registry.of(project.storage).publish(
        "demo", files, promote=False, base_model="b", base_digest=digest_model(project.model), method="full", rank=8,
        template_hash="t", prompt_hash=None, data_digest="d", fingerprint="f", metrics={}, kind=kind,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("serving", "goes_live"),
    [
        ({}, True),  # the base itself is 0.12 apart here, so 0.20 is noise of the machine
        (COPY, False),
        ({"models": {"base": "./unrelated"}}, False),
        ({"models": {"base": "./unrelated", "own": str(QUICKSTART / "model")}}, False),  # `own` is 0.01 apart
        ({**COPY, "models": {"base": "./fp8", "own": str(QUICKSTART / "model")}}, False),
    ],
)
def test_the_limit_of_a_whole_model_follows_only_the_model_that_it_was_trained_from(
    tmp_path: Path, endpoint: Server, serving: dict[str, Any], goes_live: bool
) -> None:
    project = project_in(tmp_path, serving, method="full")
    version = publish(project, "merged")
    run = Run(project.storage.runs("demo"), "compare", datetime.now(UTC).isoformat())
    comparison = Comparison(project, CheckedData([]), run, "nowhere", Console(), adapters={"tuned": version})
    served = Served(endpoint({"base": -0.12, "own": -0.01, "demo-1": -0.2}), {"tuned": "demo-1"}, None)
    if goes_live:
        comparison.check_parity(served)
    else:
        with pytest.raises(TandemError, match="published and not live"):
            comparison.check_parity(served)
    check = Registry.of(project.storage).check_of("demo", 1)
    assert check and check.tolerance == pytest.approx(0.24 if goes_live else 0.05)
    assert Registry.of(project.storage).shares("demo") == ({1: 1} if goes_live else {})


@pytest.mark.parametrize(("apart", "live"), [(0.03, 2), (0.3, 1)])
def test_without_a_tolerance_a_version_waits_for_its_check_on_the_copy(
    tmp_path: Path, endpoint: Server, apart: float, live: int
) -> None:
    project = project_in(tmp_path, COPY, parity_tolerance=None)
    registry = Registry.of(project.storage)
    registry.promote("demo", publish(project, "adapter").version)
    trained = trained_version(project)
    assert trained.version == 2 and registry.shares("demo") == {1: 1}
    model = ServedModel(endpoint({"base:demo@2": -apart}), "base:demo@2")
    if live == 2:
        ensure_parity(project, trained, Console(), model)
    else:
        with pytest.raises(TandemError, match=r"demo@2 is published and not live.*on a copy"):
            ensure_parity(project, trained, Console(), model)
    assert registry.shares("demo") == {live: 1}


@pytest.mark.parametrize(("serving", "method"), [({}, "lora"), (COPY, "full")])
def test_where_no_check_is_due_a_version_is_live_at_once(tmp_path: Path, serving: dict[str, Any], method: str) -> None:
    project = project_in(tmp_path, serving, parity_tolerance=None, method=method)
    trained_version(project)
    assert Registry.of(project.storage).shares("demo") == {1: 1}


def trained_version(project: Project) -> AdapterVersion:
    """What a training publishes whose workers have ended."""
    run = Run.start(project.storage, project.name, "train", {})
    prepare_run(project.training, project.model, run.path)
    (run.path / "adapter").mkdir()
    row = {"prompt_token_ids": [1, 2], "answer_token_ids": [3], "logprobs": [0.0]}
    (run.path / "adapter" / "parity.jsonl").write_text(json.dumps(row) + "\n")
    (run.path / "summary.json").write_text(json.dumps({"num_steps_done": 1, "held_out_loss": 1.0}))
    return train(project, run, Console(), resuming=True)


def test_a_version_that_is_live_and_fails_is_called_live(tmp_path: Path, endpoint: Server) -> None:
    project = project_in(tmp_path, COPY, parity_tolerance=None)
    version = publish(project, "adapter")
    Registry.of(project.storage).promote("demo", 1)
    with pytest.raises(TandemError, match=r"demo@1 is published and live.*tandem adapters promote demo@N"):
        ensure_parity(project, version, Console(), ServedModel(endpoint({"base:demo@1": -0.3}), "base:demo@1"))


def test_rows_that_the_engine_finds_too_long_are_left_out(tmp_path: Path, endpoint: Server) -> None:
    version = publish(project_in(tmp_path, {}), "adapter", lengths=(4, 9, 6))
    recorded = version.path / "parity.jsonl"
    with connect(endpoint({"base": -0.1}, max_model_len=9)) as client:
        found = replay_parity(client, "base", recorded, longest=None)
    assert (found.num_rows, found.num_tokens) == (2, 6) and found.mean_difference == pytest.approx(0.1)
    with (
        connect(endpoint({"base": -0.1}, max_model_len=3)) as client,
        pytest.raises(TandemError, match="Each of the 3"),
    ):
        replay_parity(client, "base", recorded, longest=None)
    with (
        connect(endpoint({"base": 0}, max_model_len=3, refusal="bad")) as client,
        pytest.raises(AskFailed, match="400"),
    ):
        replay_parity(client, "base", recorded, longest=None)
