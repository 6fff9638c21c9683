"""Plain texts beside conversations: which rows are texts, and what is said where the objective is another."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_question
from training.config import TrainingConfig
from training.data.data_check import check_training_data
from training.data.duplicates import find_duplicates
from training.data.formats.plain_text import find_questions, find_turn_mark
from training.data.rows import check_rows
from training.data.tokenize import load_tokenizer
from training.publish.publish import template_hash, trained_row

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}


def read(tmp_path: Path, rows: list[dict[str, Any]], objective: str = "text") -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check_rows(TrainingConfig.model_validate({"data": path, "objective": objective}))


@pytest.mark.parametrize(
    "row",
    [
        {"text": "A b."},
        {"content": "A b."},
        {"text": "A b.", "content": "A b."},
        {"text": "A b.", "dump": "x", "n": 3},
        {"text": "A b.", "messages": [], "prompt": "", "completion": ""},
    ],
)
def test_a_text_is_read(tmp_path: Path, row: dict[str, Any]) -> None:
    (read_row,) = read(tmp_path, [row]).rows
    assert (read_row.text, read_row.messages) == ("A b.", ())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "  \n"}, "`text` is empty"),
        ({"text": "\u200b"}, "`text` is empty"),
        ({"text": "A b.", "tools": [{"name": "f"}]}, "has `tools` beside its text, of which every token is learnt"),
        ({"text": "A b.", "chat_template_kwargs": {"a": 1}}, "has `chat_template_kwargs` beside its text"),
        ({"text": "A b.", "labels": [-100, 2]}, "has `labels` beside its text"),
        ({"text": "A b.", "token_weights": [0, 1]}, "has `token_weights` beside its text"),
        ({"text": "A b.", "input_ids": [1]}, "has `input_ids` beside its text"),
        ({"text": 7}, "`text` is not a string"),
        ({"text": ["a"]}, "`text` is not a string"),
        ({"text": "a b", "content": "c d"}, "has both `text` and `content`, which differ"),
        ({"title": "a"}, "has no `text`"),
        ({"text": None}, "has no `text`"),
        ({"text": "A b.", "weight": 0}, "has a `weight`, which a text cannot have"),
        ({"text": "A b.", "label": 1}, "has `label`; labels of good and bad answers are learnt"),
        ({"text": "A b.", "loss_mask": [0, 1]}, "has `loss_mask`; "),
        ({"text": "A b.", "image": "a.png"}, "has `image`; images, audio and video are not trained on"),
        ({"text": "A b.", "question": "Why?"}, "has `question` beside its text, which is learnt alone"),
    ],
)
def test_a_row_without_a_text_is_bad(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(TandemError) as refused:
        read(tmp_path, [{"text": "fine"}, row])
    assert f"rows.jsonl:2: {reason}" in refused.value.seen


def test_conversations_are_no_texts(tmp_path: Path) -> None:
    with pytest.raises(TandemError) as refused:
        read(tmp_path, [CHAT])
    assert "holds chat messages, and `training.objective` is text" in refused.value.seen
    with pytest.raises(TandemError, match="mixes formats"):
        read(tmp_path, [{"text": "A text."}, CHAT])


@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
def test_texts_are_no_conversations(tmp_path: Path, objective: str) -> None:
    with pytest.raises(TandemError, match=r"`training.objective: text` learns its `text` whole\n"):
        read(tmp_path, [{"text": "A text."}], objective)


@pytest.mark.parametrize(
    "text",
    [
        "<s>[INST] hi [/INST] hello</s>",
        "<|im_start|>user\nhi<|im_end|>",
        "### Instruction:\nhi",
        "a\nHuman: hi\nAssistant: yo",
    ],
)
def test_a_rendered_conversation_is_named(tmp_path: Path, text: str) -> None:
    assert find_turn_mark(text)
    with pytest.raises(TandemError, match="belongs to a rendered conversation: write its turns as `messages`"):
        read(tmp_path, [{"text": text}], "sft")


def test_data_check_warns_of_rendered_conversations(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["<|im_start|>user\nhi<|im_end|>", "No turns in here.", "Human: hi\nAssistant: yo"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    checked = check_training_data(TrainingConfig(data=path, objective="text"), str(model_folder))
    assert checked.num_rendered_chats == 2
    assert checked.lengths is not None and checked.lengths.num_learnt == checked.lengths.num_tokens - 3


def test_texts_repeat_each_other_by_their_words(tmp_path: Path) -> None:
    rows = read(
        tmp_path, [{"text": "One two three four."}, {"text": "Five six seven."}, {"text": "One two three four."}]
    ).rows
    (same,) = find_duplicates(rows, [])
    assert same.exact and same.like.endswith(":1") and same.where.endswith(":3")


def test_questions_in_a_text_count_as_trained_on(tmp_path: Path) -> None:
    (row,) = read(
        tmp_path, [{"text": "# FAQ\n\n## When does it open?\nAt 9. Who may enter? All may.\n", "id": "faq"}]
    ).rows
    line = trained_row(row)
    assert digest_question("When does it open?") in line["question_sha256"]
    assert digest_question("who may enter?") in line["question_sha256"]
    lengths = {
        len(line[name])
        for name in ("question_sha256", "question_words_sha256", "question_minhash", "answer_words_sha256")
    }
    assert len(lengths) == 1 and set(line["answer_words_sha256"]) == {None}
    assert find_questions("No question. None here!") == []
    assert find_questions("**What is v1.2 of it?**") == ["**What is v1.2 of it?**"]


def test_only_texts_do_without_a_chat_template(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(TandemError, match="has no chat template"):
        load_tokenizer(str(tmp_path))
    bare = load_tokenizer(str(tmp_path), needs_template=False)
    assert template_hash(bare) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_text_file_is_no_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\nOnce upon a time.\n")
    with pytest.raises(TandemError, match=r"book.txt is a text, and not a file of rows .* `tandem data texts`"):
        check_rows(TrainingConfig(data=path, objective="text"))
    path.write_text('{"text": "Once upon a time."}\n')
    assert len(check_rows(TrainingConfig(data=path, objective="text")).rows) == 1
