"""Every token of a text is learnt exactly once, and nothing is lost."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from training.config import TrainingConfig
from training.data.encoding.windows import encode_text
from training.data.examples import Examples
from training.data.rows import check_rows
from training.data.tokenize import encode_rows


def random_text(rng: Random, length: int) -> str:
    return "".join(rng.choice("aé ß漢😀\n\tx.,") for _ in range(length)) + "z"


@pytest.mark.parametrize("seed", range(40))
def test_every_token_is_learnt_once(make_tokenizer: Callable, seed: int) -> None:
    rng = Random(seed)
    tokenizer = make_tokenizer(merges=[("a", "x"), ("x", "x")] if seed % 2 else ())
    tokenizer.bos_token = tokenizer.bos_token if seed % 3 else None
    tokenizer.eos_token = tokenizer.eos_token if seed % 5 else None
    text, max_tokens = random_text(rng, rng.randrange(2, 400)), rng.randrange(8, 70)
    windows = encode_text(tokenizer, text, max_tokens)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    document = [*bos, *ids, *eos]
    learnt = [
        token for window in windows for token, mark in zip(window.token_ids, window.is_answer, strict=True) if mark
    ]
    assert learnt == document[1:]
    assert windows[0].token_ids[0] == document[0]
    for window, following in pairwise(windows):
        assert following.token_ids[0] == window.token_ids[-1]
    lengths = [len(window.token_ids) for window in windows]
    assert min(lengths) >= 2 and max(lengths) <= max_tokens and max(lengths) - min(lengths) <= 1
    assert len(windows) == -(-(len(document) - 1) // (max_tokens - 1))
    assert all(window.is_answer == [False] + [True] * (len(window.token_ids) - 1) for window in windows)


@pytest.mark.parametrize("length", [62, 63, 64, 125, 126, 127])
def test_a_document_that_just_fits_is_one_window(make_tokenizer: Callable, length: int) -> None:
    windows = encode_text(make_tokenizer(), "x" * length, 64)
    assert len(windows) == -(-(length + 1) // 63)


def test_nothing_can_be_learnt_of_a_single_token(make_tokenizer: Callable) -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(ValueError, match="less than two tokens"):
        encode_text(tokenizer, "x", 64)


def test_texts_go_the_whole_way_without_a_chat_template(make_tokenizer: Callable, tmp_path: Path) -> None:
    """Into the file that the workers read: the tokens of all documents, each learnt once."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    texts = ["One short text.", "A longer one. " * 40, "Ünïcode 漢字"]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text, "title": "T", "source": "a.md"}) + "\n" for text in texts))
    report = check_rows(TrainingConfig(data=path, objective="text"))
    assert [row.text for row in report.rows] == texts and report.rows[0].sources == ("a.md",)
    assert report.sources[0].format == "texts"
    data = encode_rows(report, tokenizer, 64)
    Examples.from_rows(data.rows).save(tmp_path / "rows.npz")
    rows = Examples.load(tmp_path / "rows.npz")
    assert rows.sequences_per_row == 1 and rows.loss_weights is None and rows.labels is None
    assert sum(rows.num_answers) == sum(len(text.encode()) + 1 for text in texts)
    assert max(rows.lengths) <= 64
