"""Every shape of a row that is read, with the tokens that it gives written out by hand; [[ ]] is what is learnt."""

import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.conftest import byte_tokenizer
from training.config import TrainingConfig
from training.data.rows import check_rows, read_rows
from training.data.tokenize import encode_rows

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
SYSTEM = {"role": "system", "content": "S"}
LOST = {"role": "assistant", "content": "No"}
ONE = "<s><|user|>Hi<|end|><|assistant|>[[Yo<|end|>]]"
WITH_SYSTEM = "<s><|system|>S<|end|><|user|>Hi<|end|><|assistant|>[[Yo<|end|>]]"
PAIR = [ONE, "<s><|user|>Hi<|end|><|assistant|>[[No<|end|>]]"]
PAIR_WITH_SYSTEM = [each.replace("<s>", "<s><|system|>S<|end|>") for each in PAIR]
TWO = "<s><|user|>Hi<|end|><|assistant|>[[Yo<|end|>]]<|user|>Q<|end|><|assistant|>[[A<|end|>]]"
SECOND = TWO.replace("[[Yo<|end|>]]", "Yo<|end|>")
FIRST = ONE
Q, A = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


def parts(*texts: str, key: str = "text") -> list[dict[str, str]]:
    return [{"type": "text", key: text} for text in texts]


def spoken(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": speaker, "value": text} for speaker, text in turns]


def flagged(key: str, first: Any, second: Any) -> dict[str, Any]:
    return {"messages": [USER, {**ANSWER, key: first}, Q, {**A, key: second}]}


ANSWERED: dict[str, tuple[Any, str]] = {
    "messages": ({"messages": [USER, ANSWER]}, ONE),
    "system message": ({"messages": [SYSTEM, USER, ANSWER]}, WITH_SYSTEM),
    "developer message": ({"messages": [{"role": "developer", "content": "S"}, USER, ANSWER]}, WITH_SYSTEM),
    "system beside messages": ({"system": "S", "messages": [USER, ANSWER]}, WITH_SYSTEM),
    "the same system twice": ({"system": "S", "messages": [SYSTEM, USER, ANSWER]}, WITH_SYSTEM),
    "blank system": ({"system": " ", "messages": [USER, ANSWER]}, ONE),
    "system in parts (Bedrock)": ({"system": [{"text": "S"}], "messages": [USER, ANSWER]}, WITH_SYSTEM),
    "roles in capitals": (
        {"messages": [{"role": "User", "content": "Hi"}, {"role": "ASSISTANT", "content": "Yo"}]}, ONE,
    ),
    "text parts": ({"messages": [{**USER, "content": parts("Hi")}, {**ANSWER, "content": parts("Yo")}]}, ONE),
    "text parts of LLaMA-Factory": ({"messages": [{**USER, "content": parts("Hi", key="value")}, ANSWER]}, ONE),
    "text parts without a type": ({"messages": [{**USER, "content": [{"text": "Hi"}]}, ANSWER]}, ONE),
    "strings as parts": ({"messages": [{**USER, "content": ["Hi"]}, ANSWER]}, ONE),
    "several parts": (
        {"messages": [{**USER, "content": parts("Hi", "you")}, ANSWER]}, ONE.replace("Hi", "Hi\nyou"),
    ),
    "messages as a string": (
        {"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]'}, ONE,
    ),
    "messages with a name": ({"messages": [{**USER, "name": "bob"}, ANSWER]}, ONE),
    "null columns": ({"messages": None, "prompt": "Hi", "completion": "Yo", "tools": None, "label": None}, ONE),
    "empty columns": ({"messages": [], "prompt": "Hi", "completion": "Yo", "images": [None], "tools": "[]"}, ONE),
    "null keys of messages": (
        {"messages": [{**USER, "tool_calls": None}, {**ANSWER, "refusal": None, "weight": None}]}, ONE,
    ),
    "sharegpt": ({"conversations": spoken(("human", "Hi"), ("gpt", "Yo"))}, ONE),
    "sharegpt with system": ({"conversations": spoken(("system", "S"), ("human", "Hi"), ("gpt", "Yo"))}, WITH_SYSTEM),
    "sharegpt beside system": ({"system": "S", "conversations": spoken(("human", "Hi"), ("gpt", "Yo"))}, WITH_SYSTEM),
    "other speakers": ({"conversations": spoken(("user", "Hi"), ("chatgpt", "Yo"))}, ONE),
    "bot": ({"conversations": spoken(("human", "Hi"), ("bot", "Yo"))}, ONE),
    "sharegpt with null text": ({"conversations": [{"from": "human", "value": "Hi", "text": None}, ANSWER]}, ONE),
    "conversations of role and content": ({"conversations": [USER, ANSWER]}, ONE),
    "conversation": ({"conversation": [USER, ANSWER]}, ONE),
    "conversation of exchanges": (
        {"conversation": [{"human": "Hi", "assistant": "Yo"}, {"human": "Q", "assistant": "A"}]}, TWO,
    ),
    "conversation of inputs and outputs": (
        {"conversation": [{"input": "Hi", "output": "Yo"}, {"input": "Q", "output": "A"}], "source": "x"}, TWO,
    ),
    "prompt and completion": ({"prompt": "Hi", "completion": "Yo"}, ONE),
    "system beside prompt": ({"system": "S", "prompt": "Hi", "completion": "Yo"}, WITH_SYSTEM),
    "conversational prompt and completion": ({"prompt": [SYSTEM, USER], "completion": [ANSWER]}, WITH_SYSTEM),
    "only the prompt is conversational": ({"prompt": [USER], "completion": "Yo"}, ONE),
    "only the completion is conversational": ({"prompt": "Hi", "completion": ANSWER}, ONE),
    "answers in the prompt": ({"prompt": [USER, ANSWER, Q], "completion": [A]}, SECOND),
    "completion of several turns": ({"prompt": [USER], "completion": [ANSWER, Q, A]}, TWO),
    "alpaca": ({"instruction": "Hi", "output": "Yo"}, ONE),
    "alpaca with input": ({"instruction": "H", "input": "i", "output": "Yo"}, ONE.replace("Hi", "H\n\ni")),
    "alpaca with input alone": ({"instruction": "", "input": "Hi", "output": "Yo"}, ONE),
    "alpaca with system": ({"instruction": "Hi", "input": None, "output": "Yo", "system": "S"}, WITH_SYSTEM),
    "alpaca with history": ({"instruction": "Q", "input": "", "output": "A", "history": [["Hi", "Yo"]]}, TWO),
    "alpaca with its text": (
        {"instruction": "H", "input": "i", "output": "Yo", "text": "Do it.\n# Task:\nH\n# Input:\ni\n# Answer:\nYo"},
        ONE.replace("Hi", "H\n\ni"),
    ),
    "alpaca with its rendered prompt": (
        {"instruction": "Hi", "input": "", "output": "Yo", "prompt": "Do it.\n# Task:\nHi\n# Answer:\nYo"}, ONE,
    ),
    "Dolly": ({"instruction": "Hi", "context": "", "response": "Yo", "category": "qa"}, ONE),
    "Dolly with context": ({"instruction": "H", "context": "i", "response": "Yo"}, ONE.replace("Hi", "H\n\ni")),
    "question and answer": ({"question": "Hi", "answer": "Yo"}, ONE),
    "OpenOrca": ({"id": "x.1", "system_prompt": "S", "question": "Hi", "response": "Yo"}, WITH_SYSTEM),
    "ms-swift": ({"query": "Q", "response": "A", "history": [["Hi", "Yo"]]}, TWO),
    "problem and solution": ({"problem": "Hi", "solution": "Yo"}, ONE),
    "input and output": ({"input": "Hi", "output": "Yo"}, ONE),
    "a prompt that repeats the question": ({"prompt": "Hi", "prompt_id": "f", "messages": [USER, ANSWER, Q, A]}, TWO),
    "weight 0": (flagged("weight", 0, 1), SECOND),
    "weight of one answer": ({"messages": [USER, {**ANSWER, "weight": 0.0}, Q, A]}, SECOND),
    "weight 0 at the end": (flagged("weight", 1.0, 0), FIRST),
    "weight 1 everywhere": ({"messages": [{**USER, "weight": 1}, {**ANSWER, "weight": 1}]}, ONE),
    "loss": (flagged("loss", False, True), SECOND),
    "loss_weight": (flagged("loss_weight", 0.0, 1.0), SECOND),
    "train": (flagged("train", False, True), SECOND),
    "training": (flagged("training", False, None), SECOND),
    "learn": (flagged("learn", 0, 1), SECOND),
    "loss_mask": (flagged("loss_mask", 0, 1), SECOND),
    "masked": (flagged("masked", True, False), SECOND),
    "flags that agree": ({"messages": [USER, {**ANSWER, "weight": 0, "train": False}, Q, A]}, SECOND),
    "flags in sharegpt": (
        {"conversations": [*spoken(("human", "Hi")), {"from": "gpt", "value": "Yo", "weight": 0}, Q, A]}, SECOND,
    ),
    "a row's weight": ({"messages": [USER, ANSWER], "weight": 1}, ONE),
}  # fmt: skip

PAIRS: dict[str, tuple[Any, list[str]]] = {
    "texts": ({"prompt": "Hi", "chosen": "Yo", "rejected": "No"}, PAIR),
    "question": ({"question": "Hi", "chosen": "Yo", "rejected": "No", "system": "S"}, PAIR_WITH_SYSTEM),
    "instruction and input": (
        {"instruction": "H", "input": "i", "chosen": "Yo", "rejected": "No"},
        [each.replace("Hi", "H\n\ni") for each in PAIR],
    ),
    "messages as answers": ({"prompt": [USER], "chosen": [ANSWER], "rejected": [LOST]}, PAIR),
    "one message as answer": ({"prompt": "Hi", "chosen": ANSWER, "rejected": LOST}, PAIR),
    "system in the prompt": ({"prompt": [SYSTEM, USER], "chosen": [ANSWER], "rejected": [LOST]}, PAIR_WITH_SYSTEM),
    "system beside whole sides": (
        {"system": "S", "chosen": [USER, ANSWER], "rejected": [USER, LOST]}, PAIR_WITH_SYSTEM,
    ),
    "a prompt that repeats whole sides": ({"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, LOST]}, PAIR),
    "LLaMA-Factory": (
        {"conversations": spoken(("system", "S"), ("human", "Hi")), "chosen": {"from": "gpt", "value": "Yo"},
         "rejected": {"from": "gpt", "value": "No"}},
        PAIR_WITH_SYSTEM,
    ),
    "LLaMA-Factory v1": (
        {f"{side}_messages": [{**USER, "content": parts("Hi", key="value"), "loss_weight": 0.0},
                              {**answer, "content": parts(answer["content"], key="value"), "loss_weight": 1.0}]
         for side, answer in (("chosen", ANSWER), ("rejected", LOST))},
        PAIR,
    ),
    "OpenAI": (
        {"input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
         "preferred_output": [ANSWER], "non_preferred_output": [LOST]},
        PAIR,
    ),
    "ms-swift": ({"messages": [SYSTEM, USER, ANSWER], "rejected_response": "No"}, PAIR_WITH_SYSTEM),
    "ms-swift, query": ({"query": "Hi", "response": "Yo", "rejected_response": "No", "system": "S"}, PAIR_WITH_SYSTEM),
    "an empty column of another prompt": ({"prompt": "", "question": "Hi", "chosen": "Yo", "rejected": "No"}, PAIR),
    "ms-swift, messages": ({"messages": [USER, ANSWER], "rejected_messages": [USER, LOST]}, PAIR),
    "Argilla": ({"instruction": "Hi", "chosen_response": "Yo", "rejected_response": "No", "chosen_score": 4}, PAIR),
    "axolotl": ({"messages": [USER], "chosen": ANSWER, "rejected": LOST}, PAIR),
}  # fmt: skip


def expected_tokens(text: str) -> tuple[list[int], list[bool]]:
    tokenizer = byte_tokenizer()
    token_ids, learnt = [], []
    for piece in re.findall(r"\[\[.*?\]\]|(?:(?!\[\[).)+", text, re.DOTALL):
        ids = tokenizer(piece.strip("[]"), add_special_tokens=False)["input_ids"]
        token_ids += ids
        learnt += [piece.startswith("[[")] * len(ids)
    return token_ids, learnt


def encode(path: Any, **settings: Any) -> list[tuple[list[int], list[bool]]]:
    config = TrainingConfig.model_validate({"data": str(path), **settings})
    (row,) = encode_rows(check_rows(config), byte_tokenizer(), max_tokens=512).rows
    return [(sequence.token_ids.tolist(), sequence.is_answer.tolist()) for sequence in row.sequences]


@pytest.mark.parametrize(("row", "text"), ANSWERED.values(), ids=ANSWERED)
def test_a_row_with_answers(write_rows, row: Any, text: str) -> None:
    assert encode(write_rows([row])) == [expected_tokens(text)]


@pytest.mark.parametrize(("row", "texts"), PAIRS.values(), ids=PAIRS)
def test_a_preference_pair(write_rows, row: Any, texts: list[str]) -> None:
    assert encode(write_rows([row]), objective="dpo") == [expected_tokens(text) for text in texts]


def test_parquet_with_every_column_in_every_row(tmp_path) -> None:
    """A column that one row needs is null in the others."""
    rows: list[dict[str, Any]] = [
        {"messages": [USER, {**ANSWER, "weight": 1}, Q, {**A, "weight": 0}], "images": None, "system": None, "n": 1},
        {"messages": [USER, ANSWER], "images": [], "system": "S", "n": None},
        {"messages": [USER, ANSWER], "images": ["a.png"], "system": None, "n": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path := tmp_path / "rows.parquet")
    config = TrainingConfig(data=path, max_bad_rows=1)
    data = encode_rows(report := check_rows(config), byte_tokenizer(), max_tokens=512, max_bad_rows=1)
    learnt = [(row.sequences[0].token_ids.tolist(), row.sequences[0].is_answer.tolist()) for row in data.rows]
    assert learnt == [expected_tokens(FIRST), expected_tokens(WITH_SYSTEM)]
    assert [(row.where, row.reason.split(";")[0]) for row in report.bad] == [(f"{path}:row 3", "has `images`")]
    assert report.sources[0].not_used == ("n",)


def test_turns_of_one_role_are_merged_where_that_is_set(write_rows) -> None:
    row = {"messages": [USER, {**USER, "content": "you"}, ANSWER, {**ANSWER, "content": "!"}]}
    path = write_rows([row])
    (bad,) = read_rows(TrainingConfig.model_validate({"data": str(path)})).bad
    assert "message 2 has the role 'user' where 'assistant' must come" in bad.reason
    assert "`training.consecutive_turns: merge`" in bad.reason
    merged = ONE.replace("Hi", "Hi\n\nyou").replace("Yo", "Yo\n\n!")
    assert encode(path, consecutive_turns="merge") == [expected_tokens(merged)]


def test_merged_turns_of_a_pair(write_rows) -> None:
    row = {"prompt": [SYSTEM, USER, {**USER, "content": "you"}], "chosen": "Yo", "rejected": [LOST, LOST]}
    texts = [each.replace("Hi", "Hi\n\nyou").replace("No", "No\n\nNo") for each in PAIR_WITH_SYSTEM]
    assert encode(write_rows([row]), objective="dpo", consecutive_turns="merge") == [
        expected_tokens(each) for each in texts
    ]


def test_a_name_reaches_the_chat_template(write_rows) -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.name or '' }}:{{ m.content }}<|end|>{% endfor %}"
    template += "{% if add_generation_prompt %}<|assistant|>:{% endif %}"
    config = TrainingConfig.model_validate({"data": str(write_rows([{"messages": [{**USER, "name": "bob"}, ANSWER]}]))})
    (row,) = encode_rows(check_rows(config), byte_tokenizer(template), max_tokens=512).rows
    assert row.sequences[0].token_ids.tolist() == expected_tokens("<|user|>bob:Hi<|end|><|assistant|>:Yo<|end|>")[0]


def test_pairs_are_learnt_as_answers_where_the_row_holds_the_chosen_one(write_rows) -> None:
    row = {
        "prompt": "Hi",
        "messages": [USER, ANSWER],
        "chosen": [USER, ANSWER],
        "rejected": [USER, LOST],
        "score_chosen": 9.0,
    }
    path = write_rows([row])
    assert encode(path) == [expected_tokens(ONE)]
    assert encode(path, objective="dpo") == [expected_tokens(each) for each in PAIR]
