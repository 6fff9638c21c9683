"""The trainer's log-probabilities, replayed against the served adapter."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, Registry, UnknownAdapter
from serving.client import connect
from serving.parity_replay import BASE_LOGPROBS, replay_parity
from tandem.console import Console
from tandem.pipeline import parity_check
from tandem.project.project import Project, load
from tests.serving.served_app import MODEL, Endpoint, random_adapter
from tests.training.served import load_served
from training.data.answer_masks import Example
from training.data.examples import Examples
from training.publish.parity_rows import answer_logprobs, write_parity_rows

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
QUESTIONS = ["What is iron?", "Which metal has the number 79, and what is it made into?", "Name a gas."]
ANSWERS = ["It is a metal.", "Gold, and it is made into rings and coins.", "Neon, or argon."]


@pytest.fixture(scope="module")
def adapter(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> AdapterVersion:
    """A published adapter that has not been checked, with the log-probabilities of its model in transformers."""
    folder = random_adapter(tmp_path_factory.mktemp("adapter") / "files", std=0.1)
    tuned = load_served(str(MODEL), folder)
    logprobs = answer_logprobs(tuned, encoded(), CPU)
    with tuned.disable_adapter():
        base = answer_logprobs(tuned, encoded(), CPU)
    write_parity_rows(encoded(), folder, logprobs, base, tuned.dtype)
    return publish(endpoint, folder)


def encoded() -> Examples:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = []
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True):
        prompt, learnt = tokenizer(question)["input_ids"], tokenizer(answer)["input_ids"]
        rows.append(Example(prompt + learnt, [False] * len(prompt) + [True] * len(learnt)))
    return Examples.from_sequences(rows)


def test_the_served_adapter_agrees_and_the_base_does_not(endpoint: Endpoint, adapter: AdapterVersion) -> None:
    recorded = adapter.path / parity_check.RECORDED
    with connect(endpoint.url) as client:
        found = replay_parity(client, "base:checked@1", recorded, longest=512)
        other = replay_parity(client, "base", recorded, longest=512)
        base = replay_parity(client, "base", recorded, 512, BASE_LOGPROBS)
    num_tokens = sum(len(json.loads(line)["logprobs"]) for line in recorded.read_text().splitlines())
    assert (found.num_rows, found.num_tokens) == (3, num_tokens)
    assert found.mean_difference < parity_check.LEAST_TOLERANCE
    assert other.mean_difference > 10 * parity_check.LEAST_TOLERANCE
    assert base.mean_difference < other.mean_difference / 5  # the base, which was not trained, is less sure of itself
    assert found.max_difference >= found.mean_difference


def test_rows_that_are_too_long_to_serve_are_left_out(endpoint: Endpoint, adapter: AdapterVersion) -> None:
    recorded = adapter.path / parity_check.RECORDED
    lengths = sorted(
        len(line["prompt_token_ids"] + line["answer_token_ids"])
        for line in map(json.loads, recorded.read_text().splitlines())
    )
    with connect(endpoint.url) as client:
        assert replay_parity(client, "base", recorded, longest=lengths[1] + 1).num_rows == 2
        with pytest.raises(TandemError, match="Each of the 3 rows"):
            replay_parity(client, "base", recorded, longest=lengths[0])


def test_a_row_that_only_the_engine_finds_too_long_is_left_out(
    endpoint: Endpoint, adapter: AdapterVersion, tmp_path: Path
) -> None:
    lines = (adapter.path / parity_check.RECORDED).read_text().splitlines()
    long = {**json.loads(lines[0]), "prompt_token_ids": [5] * 20_000}
    (tmp_path / "parity.jsonl").write_text("\n".join([*lines, json.dumps(long)]) + "\n")
    with connect(endpoint.url) as client:
        assert replay_parity(client, "base", tmp_path / "parity.jsonl", longest=None).num_rows == len(lines)


def test_only_what_is_served_as_it_was_trained_goes_live(
    endpoint: Endpoint, adapter: AdapterVersion, tmp_path: Path
) -> None:
    project, console = project_of(endpoint, tmp_path), Console()
    registry = Registry(endpoint.storage.adapters)
    with pytest.raises(UnknownAdapter):
        registry.resolve("checked")
    served = parity_check.ServedModel(endpoint.url, "base:checked@1", "base")
    parity_check.ensure_parity(project, adapter, console, served)
    assert registry.resolve("checked").version == 1
    check = registry.check_of("checked", 1)
    assert check and check.base_difference is not None
    assert check.tolerance == parity_check.parity_limit("auto", check.base_difference)

    bad = publish(endpoint, recorded_otherwise(adapter, tmp_path / "files"))
    for _ in range(2):
        with pytest.raises(TandemError, match="checked@2 is published and not live") as raised:
            parity_check.ensure_parity(
                project, bad, console, parity_check.ServedModel(endpoint.url, "base:checked@2", "base")
            )
        assert "parity_tolerance" in raised.value.accepted
    with pytest.raises(TandemError, match="is not served as it was trained"):
        registry.promote("checked", 2)
    assert registry.resolve("checked").version == 1


def project_of(endpoint: Endpoint, folder: Path) -> Project:
    (folder / "tandem.yaml").write_text(f"model: {MODEL}\nstorage: {endpoint.storage.root}\n")
    return load(folder / "tandem.yaml")


def publish(endpoint: Endpoint, files: Path) -> AdapterVersion:
    """Published and not live, as a training leaves it."""
    registry = Registry(endpoint.storage.adapters)
    manifest = registry.get("support", 1).manifest
    fields = manifest.model_dump(
        include={"base_model", "base_digest", "method", "rank", "template_hash", "prompt_hash", "data_digest",
                 "fingerprint", "metrics"}
    )  # fmt: skip
    return registry.publish("checked", files, promote=False, **fields)


def recorded_otherwise(adapter: AdapterVersion, folder: Path) -> Path:
    """The adapter's files with log-probabilities that lie half a nat beside the recorded ones."""
    shutil.copytree(adapter.path, folder, ignore=shutil.ignore_patterns("manifest.json"))
    lines = [json.loads(line) for line in (folder / parity_check.RECORDED).read_text().splitlines()]
    for line in lines:
        line["logprobs"] = [value - 0.5 for value in line["logprobs"]]
    (folder / parity_check.RECORDED).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
