import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json, digest_question
from cluster.fingerprints.minhash import digest_words, question_minhash
from training.config import DataSource, TrainingConfig, WorkerRange
from training.data.duplicates import row_minhash
from training.data.rows import check_rows, draw_held_out_rows
from training.publish.parity_rows import find_last_answer
from training.publish.publish import (
    fingerprint,
    known_fingerprints,
    result_kind,
    trained_fingerprint,
    trained_row,
    write_trained_rows,
)

ROW = {"prompt": "Hi", "completion": "Yo", "id": "r1", "sources": ["a.md", "b.md"]}


def test_the_fingerprint_changes_with_what_decides_the_result_and_with_nothing_else(write_rows) -> None:
    data = write_rows([ROW])
    config = TrainingConfig(data=data)
    known = fingerprint(config, "org/model", "digest")
    same = config.model_copy(update={"adapter": "other", "max_failures": 0, "checkpoint_steps": 7})
    assert fingerprint(same, "org/model", "digest") == known
    for update in (
        {"learning_rate": 5e-4},
        {"seed": 1},
        {"workers": WorkerRange(min=3, max=3)},
        {"deepspeed": {"x": 1}},
        {"gradient_precision": "fp32"},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"consecutive_turns": "merge"},
        {"data": (DataSource(path=data, ignore=("mood",)),)},
    ):
        assert fingerprint(config.model_copy(update=update), "org/model", "digest") != known
    assert fingerprint(config, "org/model", "other") != known
    assert fingerprint(config, "org/other", "digest") != known
    data.write_text(data.read_text().replace("Yo", "No"))
    assert fingerprint(config, "org/model", "digest") != known


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        ({}, "4f2af1f2a23faa5811bd6a4b82d21e212c896052920ef659a1e809cd4090e5eb"),
        (
            {"space": {"rank": [4, 8]}, "max_hours": 2},
            "eacb91cc14522befaa36a803f8b4553fc3cdd9b6b15a6c60987da9026369636d",
        ),
    ],
)
@pytest.mark.parametrize("name", ["search", "tune"])
def test_the_fingerprint_is_the_one_from_before_search_was_called_tune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, Any], digest: str
) -> None:
    """The digests were computed with version f74172e. A new setting of `training` changes them, and rightly."""
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1")
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "Hi", "completion": "Yo"}\n')
    config = TrainingConfig.model_validate({"data": data, name: settings or None})
    assert fingerprint(config, "org/model", "digest") == digest


def test_a_base_in_a_folder_is_known_by_its_content_alone(write_rows, tmp_path: Path) -> None:
    config = TrainingConfig(data=write_rows([ROW]))
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    assert len({fingerprint(config, str(folder), "digest") for folder in folders}) == 1


def test_trained_rows_are_named_by_digest_and_sources(write_rows, tmp_path: Path) -> None:
    rows = check_rows(TrainingConfig(data=write_rows([ROW]))).rows
    write_trained_rows(list(rows), tmp_path)
    (line,) = map(json.loads, (tmp_path / "trained.jsonl").read_text().splitlines())
    assert line == {
        "id": "r1",
        "sha256": rows[0].digest,
        "question_sha256": [digest_question("Hi")],
        "sources": ["a.md", "b.md"],
        "minhash": row_minhash(rows[0], 64).hashvalues.tolist(),
        "question_words_sha256": [digest_words("hi")],
        "question_minhash": [None],
        "answer_words_sha256": [None],
    }
    assert len(line["minhash"]) == 64


CALL = {"type": "function", "function": {"name": "find", "arguments": {"of": "all who still have days to take"}}}
CHAIN = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "I look at the list of all of us.", "tool_calls": [CALL]},
    {"role": "tool", "content": "Ann"},
    {"role": "assistant", "content": "Ann still has five days to take."},
]


def test_an_answer_behind_calls_is_the_answer_to_its_question(write_rows) -> None:
    """And not what is said beside a call, nor the answer to the next question."""
    (row,) = check_rows(TrainingConfig(data=write_rows([{"messages": [*CHAIN, *CHAIN[:1], CHAIN[3]]}]))).rows
    told = trained_row(row)
    assert told["question_sha256"] == [digest_question("Who?")] * 2
    assert told["answer_words_sha256"] == [digest_words("Ann still has five days to take")] * 2


def test_rows_that_differ_in_what_the_model_sees_or_learns_are_different_rows(write_rows) -> None:
    ask, answer = CHAIN[0], CHAIN[3]
    other = [{**CHAIN[1], "tool_calls": [{**CALL, "function": {"name": "find", "arguments": {"of": "none"}}}]}]
    plain = {"messages": [ask, answer]}
    two = [ask, answer, ask, answer]
    rows = [
        plain,
        {**plain, "tools": [{"name": "find"}]},
        {**plain, "tools": [{"name": "find", "description": "Find."}]},
        {**plain, "chat_template_kwargs": {"enable_thinking": False}},
        {"messages": [ask, {**answer, "reasoning": "Hm."}]},
        {"messages": CHAIN},
        {"messages": [ask, *other, *CHAIN[2:]]},
        {"messages": two},
        {"messages": [ask, {**answer, "weight": 0}, ask, answer]},
    ]
    digests = [row.digest for row in check_rows(TrainingConfig(data=write_rows(rows))).rows]
    assert len(set(digests)) == len(rows)
    assert digests[0] == digest_json([ask, answer])
    named = {**plain, "messages": [ask, {**answer, "weight": 1}], "tools": [], "chat_template_kwargs": None}
    assert check_rows(TrainingConfig(data=write_rows([named]))).rows[0].digest == digests[0]


def test_long_questions_and_answers_are_known_by_more(write_rows) -> None:
    question = "Who of us may still take the days of leave that were left over from the last year?"
    row = {"prompt": question, "completion": "All who ask for it in March may."}
    (read,) = check_rows(TrainingConfig(data=write_rows([row]))).rows
    told = trained_row(read)
    assert told["question_minhash"] == [question_minhash(question).hashvalues.tolist()]
    assert told["answer_words_sha256"] == [digest_words("all who ask it March may")]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"method": "lora"}, "adapter"),
        ({"method": "qlora"}, "adapter"),
        ({"method": "dora"}, "merged"),
        ({"method": "full"}, "merged"),
        ({"modules_to_save": ["lm_head"]}, "merged"),
    ],
)
def test_what_vllm_cannot_load_as_an_adapter_is_published_merged(settings: dict[str, Any], kind: str) -> None:
    assert result_kind(TrainingConfig(**settings)) == kind


def test_what_is_held_out_is_not_what_is_trained_on(write_rows, tmp_path: Path) -> None:
    rows = write_rows([ROW])
    other = tmp_path / "other.jsonl"
    other.write_text(rows.read_text().replace("Yo", "No"))
    both = TrainingConfig(data=[rows, other])
    apart = TrainingConfig(data=rows, held_out_data=other)
    assert fingerprint(both, "org/model", "digest") != fingerprint(apart, "org/model", "digest")
    with pytest.raises(TandemError, match="does not exist"):
        fingerprint(TrainingConfig(data=tmp_path / "nowhere.jsonl"), "org/model", "digest")


@pytest.mark.parametrize(
    ("share", "num_rows", "number"), [(0.05, 100, 5), (0.05, 3, 1), (0.9, 2, 1), (0.5, 1, 0), (0.0, 100, 0)]
)
def test_held_out_rows(share: float, num_rows: int, number: int) -> None:
    config = TrainingConfig(held_out=share)
    assert len(draw_held_out_rows(config, num_rows)) == number
    assert draw_held_out_rows(config, num_rows) == draw_held_out_rows(config, num_rows)


def test_the_last_answer_of_a_row_with_two_turns() -> None:
    marks = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
    assert find_last_answer(marks) == (6, 8)


def test_automatic_workers_are_two_or_have_a_fingerprint_of_their_own(write_rows) -> None:
    """A version of two workers is found again, and one of eight is not taken for that of two."""
    auto = TrainingConfig(data=write_rows([ROW]))
    two, eight = (auto.model_copy(update={"workers": WorkerRange(min=n, max=n)}) for n in (2, 8))
    base = ("org/model", "digest")
    assert trained_fingerprint(auto, two, *base) == fingerprint(two, *base) == fingerprint(auto, *base)
    on_eight = trained_fingerprint(auto, eight, *base)
    assert {on_eight, fingerprint(two, *base)} == set(known_fingerprints(auto, *base))
    assert on_eight not in known_fingerprints(two, *base) + known_fingerprints(eight, *base)
