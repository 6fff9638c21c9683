"""KTO and plain texts through the whole command: trained, compared with what vLLM computes, live, and asked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from cluster.config import ClusterConfig
from cluster.registry.registry import Registry
from cluster.session import ray_session
from serving.deploy.run import running_endpoint
from tandem.project.project import Project, load
from tests.ports import free_port
from tests.serving.served_app import MODEL
from tests.training.served import load_served
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.loss import answer_losses

pytestmark = pytest.mark.slow
METALS = ("iron", "zinc", "lead", "gold", "neon", "tin", "silver", "copper", "radon", "argon", "boron", "cobalt")


def project_with(folder: Path, rows: list[dict[str, Any]], model: Path = MODEL, **training: Any) -> Project:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "project": "p", "model": str(model), "storage": "./runs", "serving": {"port": free_port()},
        "training": {"data": "rows.jsonl", "rank": 8, "workers": 2, "sequence_length": 128, "held_out": 0.2,
                     **training},
    }  # fmt: skip
    (folder / "tandem.yaml").write_text(json.dumps(settings))
    return load(folder / "tandem.yaml")


def trained(project: Project, *words: str) -> Path:
    """The version that `tandem train` made and promoted."""
    done = subprocess.run(
        [sys.executable, "-m", "tandem", "train", "-c", str(project.path), *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    version = Registry.of(project.storage).resolve(project.adapter)
    check = Registry.of(project.storage).check_of(version.name, version.version)
    assert check is not None and check.passed
    print(f"{project.training.objective}: {check.mean_difference:.4f} nats per token from the trainer on average")
    return version.path


def without_template(folder: Path) -> Path:
    """A copy of the model whose tokenizer has no chat template."""
    shutil.copytree(MODEL, folder / "bare")
    (folder / "bare" / "chat_template.jinja").unlink()
    return folder / "bare"


def log_probabilities(model: Any, rows: Examples) -> torch.Tensor:
    """Of the answer of each row, in nats."""
    batches = [make_micro_batch(rows, (row,), padded=True) for row in range(len(rows))]
    with torch.no_grad():
        return torch.tensor([-float(answer_losses(model, batch).sum()) for batch in batches])


def test_kto_moves_answers_by_their_labels_and_goes_live(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Is {metal} a metal?", "completion": f"{answer} {metal} is.", "label": answer == "Yes,"}
        for metal in METALS
        for answer in ("Yes,", "No, not")
    ]
    project = project_with(tmp_path, rows, objective="kto", epochs=8, learning_rate=3e-4, kto_undesirable_weight=1.0)
    path = trained(project)
    (run,) = (tmp_path / "runs" / "p").glob("*/training.npz")
    examples = Examples.load(run)
    base, tuned = load_served(str(MODEL), MODEL), load_served(str(MODEL), path)
    moved = log_probabilities(tuned, examples) - log_probabilities(base, examples)
    assert examples.labels is not None
    desired, undesired = moved[torch.from_numpy(examples.labels)], moved[~torch.from_numpy(examples.labels)]
    print(f"desired answers {float(desired.mean()):+.2f} nats, undesired ones {float(undesired.mean()):+.2f}")
    assert float(desired.mean()) > 0.5 and float(undesired.mean()) < -0.5
    notes = (run.parent / "metrics.jsonl").read_text()
    assert "desired answers, which count" in notes
    assert "(kto)" in (path / "README.md").read_text()


def test_texts_train_a_model_without_a_chat_template(tmp_path: Path) -> None:
    model = without_template(tmp_path)
    rows = [{"text": f"The {metal} of Tandem weighs seven stones. " * 12, "source": f"{metal}.md"} for metal in METALS]
    project = project_with(tmp_path, rows, model, objective="text", epochs=6, learning_rate=2e-3, sequence_length=64)
    path = trained(project)
    lines = [json.loads(line) for line in (path / "parity.jsonl").read_text().splitlines()]
    assert lines and all(len(line["prompt_token_ids"]) == 1 and len(line["answer_token_ids"]) > 20 for line in lines)
    gained = [sum(line["logprobs"]) - sum(line["base_logprobs"]) for line in lines]
    assert min(gained) > 20


def test_a_model_without_a_chat_template_completes_and_refuses_chats(tmp_path: Path) -> None:
    project = project_with(tmp_path, [{"text": "A text."}], without_template(tmp_path), objective="text")
    with (
        ray_session(ClusterConfig()),
        running_endpoint(project.serving, project.model, project.storage, None, None, print) as url,
    ):
        body = {"model": "base", "prompt": "The gold of Tandem weighs seven", "max_tokens": 8, "temperature": 0}
        assert httpx.post(f"{url}/completions", json=body, timeout=120).status_code == 200
        chat = {"model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
        refused = httpx.post(f"{url}/chat/completions", json=chat, timeout=120)
        print(refused.status_code, refused.text)
        assert refused.status_code == 400 and "chat template" in refused.json()["error"]["message"]
