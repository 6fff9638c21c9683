"""Labels in the words of TRL, LLaMA-Factory, ms-swift and OpenRLHF, and the errors that name a remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.data_check import check_training_data
from training.data.examples import Examples
from training.data.rows import check_rows
from training.data.tokenize import encode_rows

TURNS = [{"role": "user", "content": "Capital of Chad?"}, {"role": "assistant", "content": "N'Djamena."}]
BAD_TURNS = [TURNS[0], {"role": "assistant", "content": "Lagos."}]
BAD: dict[str, Any] = {"messages": BAD_TURNS, "label": False}


def read(tmp_path: Path, rows: list[dict[str, Any]], objective: str = "kto", **settings: Any) -> Any:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check_rows(TrainingConfig.model_validate({"data": path, "objective": objective, **settings}))


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"messages": TURNS, "label": True}, True),
        ({"messages": TURNS, "kto_tag": False}, False),
        ({"messages": TURNS, "label": None, "kto_tag": 1}, True),
        ({"messages": TURNS, "label": True, "kto_tag": "true"}, True),
        ({"prompt": "Q", "completion": "A", "label": 0}, False),
        ({"prompt": "Q", "completion": "A", "label": 1.0}, True),
        ({"instruction": "Q", "input": "", "output": "A", "label": "False"}, False),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "label": " Yes"}, True),
        ({"prompt": "Q", "completion": "A", "label": "thumbs-up"}, True),
        ({"prompt": "Q", "completion": "A", "label": "Thumbs Down"}, False),
        ({"prompt": "Q", "completion": "A", "label": "👎"}, False),
        ({"prompt": "Q", "completion": "A", "label": "undesirable"}, False),
    ],
)
def test_a_label_is_read(tmp_path: Path, row: dict[str, Any], label: bool) -> None:
    other = {"prompt": "Other?", "completion": "No", "label": not label}
    other = BAD | {"label": not label} if "messages" in row else other
    if "instruction" in row:
        other = {"instruction": "Other?", "output": "No", "label": not label}
    if "conversations" in row:
        other = {**row, "label": not label}
    first, second = read(tmp_path, [row, other]).rows
    assert (first.label, second.label) == (label, not label)
    assert first.messages[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (0.7, "`label` is 0.7, which is neither true nor false"),
        (-1, "`label` is -1, which is neither"),
        (2, "`label` is 2, which is neither"),
        ("sports", "`label` is 'sports', which is neither"),
        ("", "`label` is '', which is neither"),
        ([True], "`label` is [True], which is neither"),
        (float("nan"), "`label` is nan, which is neither"),
        (None, "has no `label`"),
    ],
)
def test_a_label_in_doubt_makes_a_bad_row(tmp_path: Path, label: Any, reason: str) -> None:
    with pytest.raises(TandemError) as refused:
        read(tmp_path, [BAD, {"messages": TURNS, "label": label}])
    assert f"rows.jsonl:2: {reason}" in refused.value.seen


def test_a_label_that_is_ignored_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": TURNS, "label": "sports", "kto_tag": tag} for tag in (True, False)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": path, "ignore": ["label"]}
    report = check_rows(TrainingConfig.model_validate({"data": [source], "objective": "kto"}))
    assert [row.label for row in report.rows] == [True, False]
    assert report.sources[0].not_used == ("label",)


def test_labels_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion,label\nHi,Yo,True\nHi,No,0\n")
    report = check_rows(TrainingConfig.model_validate({"data": path, "objective": "kto"}))
    assert [row.label for row in report.rows] == [True, False]
    with pytest.raises(TandemError, match="labels of good and bad answers"):
        check_rows(TrainingConfig.model_validate({"data": path}))


def test_labels_that_differ_make_a_bad_row(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="`label` and `kto_tag` differ"):
        read(tmp_path, [BAD, {"messages": TURNS, "label": True, "kto_tag": False}])


@pytest.mark.parametrize("label", [True, False, 1, "bad", "false"])
def test_a_labelled_answer_is_not_learnt_as_a_good_one(tmp_path: Path, label: Any) -> None:
    with pytest.raises(TandemError, match=r"has `label`; labels of good and bad answers are learnt"):
        read(tmp_path, [{"messages": TURNS, "label": label}], objective="sft")


def test_a_preference_pair_with_a_label_is_bad(tmp_path: Path) -> None:
    pair = {"prompt": "Q", "chosen": "A", "rejected": "B", "label": True}
    with pytest.raises(TandemError, match=r"are learnt from with `training.objective: kto`"):
        read(tmp_path, [pair], objective="dpo")
    with pytest.raises(TandemError, match=r"holds preference pairs, and `training.objective` is kto"):
        read(tmp_path, [pair])


@pytest.mark.parametrize("label", [True, False])
def test_answers_of_one_kind_only_are_refused(tmp_path: Path, label: bool) -> None:
    rows = [{"messages": turns, "label": label} for turns in (TURNS, BAD_TURNS)]
    with pytest.raises(TandemError) as refused:
        read(tmp_path, rows)
    assert refused.value.seen.startswith("All 2 training rows are answers that are ")
    assert ("set `training.objective: sft`" in refused.value.remedy) == label


def test_data_check_says_so_too(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(BAD) + "\n")
    with pytest.raises(TandemError, match="All 1 training rows"):
        check_training_data(TrainingConfig(data=path, objective="kto"), str(model_folder))
    path.write_text(json.dumps(BAD) + "\n" + json.dumps({"messages": TURNS, "label": 5}) + "\n")
    (bad,) = check_training_data(TrainingConfig(data=path, objective="kto"), str(model_folder)).bad
    assert bad.where == f"{path}:2"


def test_only_the_last_answer_is_compared_and_its_label_kept(tmp_path: Path, make_tokenizer) -> None:
    tokenizer = make_tokenizer()
    several = {"messages": [*TURNS, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]}
    report = read(tmp_path, [{**several, "label": True}, BAD], held_out=0)
    rows = Examples.from_rows(encode_rows(report, tokenizer, 512).rows)
    assert rows.labels is not None and rows.labels.tolist() == [True, False]
    tokens, marks = rows.sequence(0)
    assert tokenizer.decode(tokens[marks]) == "Yes.<|end|>"
    rows.save(tmp_path / "rows.npz")
    assert Examples.load(tmp_path / "rows.npz").labels.tolist() == [True, False]
