"""An adapter that is taught to end with a token at which its base model does not end: trained, published and served."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.config import ClusterConfig
from cluster.registry.registry import AdapterVersion, Registry
from cluster.session import ray_session
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from serving.client import connect
from serving.config import ServingConfig
from serving.deploy.run import running_endpoint
from tests.ports import free_port
from tests.serving.served_app import MODEL
from tests.training.templates import CHATML
from training.config import TrainingConfig
from training.publish.weights import merge_adapter
from training.run import run_training
from training.trainer.fit import TrainingReporter

pytestmark = pytest.mark.slow
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Norway": "Oslo"}
END = "<|im_end|>"


def write_base(folder: Path) -> int:
    """The quickstart model, made for `<|end|>`, with a ChatML template and its two tokens; gives the end's id."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(MODEL), AutoModelForCausalLM.from_pretrained(MODEL)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", END]}, replace_extra_special_tokens=False
    )
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    # Rows of their own: the mean of all others could not be told apart from them by a frozen head.
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(tokenizer.convert_tokens_to_ids(END))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Storage, AdapterVersion, int]]:
    folder = tmp_path_factory.mktemp("ends")
    base, storage = folder / "base", Storage(folder / "storage")
    end = write_base(base)
    rows = [{"prompt": f"What is the capital of {country}?", "completion": city} for country, city in CAPITALS.items()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = TrainingConfig(
        data=folder / "rows.jsonl", epochs=40, learning_rate=4e-3, held_out=0, sequence_length=64, precision="fp32",
        workers=1, parity_tolerance=None,
    )  # type: ignore[arg-type]  # fmt: skip
    with ray_session(ClusterConfig()):
        run = Run.start(storage, "ends", "train", {})
        version = run_training(config, str(base), "taught", storage, run, TrainingReporter())
        yield base, storage, version, end


@pytest.fixture(scope="module")
def url(trained: tuple[Path, Storage, AdapterVersion, int]) -> Iterator[str]:
    """Version 1 has the learnt end in its record; version 2 is the same files as an earlier Tandem published them."""
    base, storage, version, _ = trained
    earlier = base.with_name("earlier")
    fields = version.manifest.model_dump(exclude={"name", "version", "content_digest", "created", "git_commit",
                                                  "versions", "stop_token_ids", "schema_version"})  # fmt: skip
    shutil.copytree(version.path, earlier, ignore=shutil.ignore_patterns("manifest.json"))
    Registry.of(storage).publish("taught", earlier, promote=False, **fields)
    config = ServingConfig(port=free_port(), max_model_len=256)
    with running_endpoint(config, str(base), storage, None, None, lambda _: None) as served:
        yield served


def test_the_end_is_recorded_with_the_version(
    trained: tuple[Path, Storage, AdapterVersion, int], tmp_path: Path
) -> None:
    base, _, version, end = trained
    assert version.manifest.stop_token_ids == (end,)
    assert json.loads((version.path / "generation_config.json").read_text())["eos_token_id"] == [5, end]
    assert f"`stop_token_ids: [{end}]`" in (version.path / "README.md").read_text()
    merge_adapter(str(base), version.path, tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["eos_token_id"] == [5, end]


def said(client: Any, model: str, country: str, stream: bool = False, **more: Any) -> list[tuple[str, str | None]]:
    """Each choice's text, and why it ended."""
    asked: Any = {"messages": [{"role": "user", "content": f"What is the capital of {country}?"}], "model": model}
    more.setdefault("temperature", 0)
    answer = client.chat.completions.create(**asked, max_tokens=24, stream=stream, **more)
    if not stream:
        return [(choice.message.content, choice.finish_reason) for choice in answer.choices]
    texts, ends = dict[int, str](), dict[int, str | None]()
    for choice in (choice for chunk in answer for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        ends[choice.index] = choice.finish_reason or ends.get(choice.index)
    return [(texts[number], ends[number]) for number in sorted(texts)]


@pytest.mark.parametrize("stream", [False, True])
def test_answers_end_where_the_training_taught(url: str, stream: bool) -> None:
    with connect(url) as client:
        for country, city in CAPITALS.items():
            assert said(client, "base:taught", country, stream) == [(city, "stop")]
        assert said(client, "base:taught", "Italy", stream, n=3, temperature=0.01) == [("Rome", "stop")] * 3


def test_a_version_without_the_record_is_served_as_before(url: str) -> None:
    with connect(url) as client:
        ((text, reason),) = said(client, "base:taught@2", "France")
        assert text.startswith("Paris") and text != "Paris" and reason == "length"
        assert said(client, "base:taught@1", "France") == [("Paris", "stop")]


def test_what_the_caller_says_about_ends_is_kept(url: str, trained: tuple[Path, Storage, AdapterVersion, int]) -> None:
    end = trained[3]
    with connect(url) as client:
        ((text, reason),) = said(client, "base:taught", "France", extra_body={"ignore_eos": True})
        assert text.startswith("Paris") and len(text) > len("Paris") and reason == "length"
        assert said(client, "base:taught", "France", stop=["ar"]) == [("P", "stop")]
        assert said(client, "base:taught@2", "Spain", extra_body={"stop_token_ids": [end]}) == [("Madrid", "stop")]
        assert said(client, "base:taught", "Spain", extra_body={"stop_token_ids": [5]}) == [("Madrid", "stop")]


def test_completions_end_there_too(url: str) -> None:
    prompt = "<|im_start|>user\nWhat is the capital of Norway?<|im_end|>\n<|im_start|>assistant\n"
    with connect(url) as client:
        done = client.completions.create(model="base:taught", prompt=prompt, temperature=0, max_tokens=24)
        assert (done.choices[0].text, done.choices[0].finish_reason) == ("Oslo", "stop")


def test_the_alias_may_move_while_it_is_served(url: str, trained: tuple[Path, Storage, AdapterVersion, int]) -> None:
    registry = Registry.of(trained[1])
    with connect(url) as client:
        registry.promote("taught", 2)
        assert said(client, "base:taught", "France")[0][1] == "length"
        registry.promote("taught", 1)
        assert said(client, "base:taught", "France") == [("Paris", "stop")]
