import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.rows import DataReport, check_rows, draw_held_out_rows, read_rows
from training.data.tokenize import encode_rows

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
PAIR = {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}
LOSING = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]


def turn(role, content):
    return {"role": role, "content": content}


def check(*paths: object, **settings: object) -> DataReport:
    return check_rows(TrainingConfig.model_validate({"data": list(paths), **settings}))


def refused(*paths: object, **settings: object) -> str:
    with pytest.raises(TandemError) as caught:
        check(*paths, **settings)
    return caught.value.seen


def write(path: Path, content: object) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def write_parquet(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_chat_and_prompt_rows_become_the_same_messages(tmp_path, write_rows) -> None:
    other = write(
        tmp_path / "other.jsonl",
        b'\n{"prompt": "Hi", "completion": "Yo", "id": 7, "source": "a.md", "prompt_hash": "p"}\n',
    )
    report = check(write_rows([GOOD]), other)
    chat, prompt = report.rows
    assert chat.messages == prompt.messages
    assert chat.digest == prompt.digest
    assert (chat.line, chat.id, chat.sources) == (1, "1", ())
    assert (prompt.line, prompt.id, prompt.sources) == (2, "7", ("a.md",))
    assert prompt.where == f"{other}:2"
    assert report.prompt_hash == "p"
    assert [source.format for source in report.sources] == ["chat messages", "prompt and completion"]


@pytest.mark.parametrize(
    ("row", "name", "messages"),
    [
        ({"instruction": "Add", "input": "1 1", "output": "2"}, "alpaca", [turn("user", "Add\n\n1 1")]),
        ({"instruction": "Add", "input": "", "output": "2"}, "alpaca", [turn("user", "Add")]),
        (
            {"instruction": "Add", "output": "2", "system": "S"},
            "alpaca",
            [turn("system", "S"), turn("user", "Add")],
        ),
        (
            {"conversations": [{"from": "human", "value": "Add"}, {"from": "gpt", "value": "2"}], "system": "S"},
            "sharegpt",
            [turn("system", "S"), turn("user", "Add")],
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "S"},
                    {"from": "human", "value": "Add"},
                    {"from": "gpt", "value": "2"},
                ]
            },
            "sharegpt",
            [turn("system", "S"), turn("user", "Add")],
        ),
    ],
)
def test_alpaca_and_sharegpt(write_rows, row: dict, name: str, messages: list) -> None:
    report = check(write_rows([row]))
    assert report.sources[0].format == name
    assert report.rows[0].messages == (*messages, turn("assistant", "2"))


@pytest.mark.parametrize(
    "pair",
    [
        PAIR,
        {"chosen": GOOD["messages"], "rejected": LOSING},
        {"prompt": [turn("user", "Hi")], "chosen": [turn("assistant", "Yo")], "rejected": [turn("assistant", "No")]},
        {"prompt": "Hi", "messages": GOOD["messages"], "chosen": GOOD["messages"], "rejected": LOSING},
    ],
)
def test_preference_pairs(write_rows, pair: dict) -> None:
    (row,) = check(write_rows([pair]), objective="dpo").rows
    assert row.messages == (turn("user", "Hi"), turn("assistant", "Yo"))
    assert row.rejected == (turn("user", "Hi"), turn("assistant", "No"))


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ({"chosen": "Yo", "rejected": "No"}, "`chosen` and `rejected` hold no question, and there is no `prompt`"),
        ({**PAIR, "rejected": "Yo"}, "`chosen` and `rejected` are the same"),
        ({**PAIR, "rejected": " "}, "with the rejected answer `rejected` is an empty answer"),
        ({**PAIR, "chosen": 1}, "`chosen` is a JSON number, not a string"),
        (
            {"chosen": GOOD["messages"], "rejected": [turn("user", "Ho"), turn("assistant", "No")]},
            "`chosen` and `rejected` differ before their last message",
        ),
    ],
)
def test_a_bad_pair(write_rows, pair: dict, reason: str) -> None:
    assert f":2: {reason}" in refused(write_rows([PAIR, pair]), objective="dpo")


def test_the_objective_and_the_rows_belong_together(write_rows) -> None:
    assert "holds preference pairs, and `training.objective` is sft" in refused(write_rows([PAIR]))
    assert "holds chat messages, and `training.objective` is dpo" in refused(write_rows([GOOD]), objective="dpo")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"messages": [', "not JSON"),
        ("[]", "a JSON array, not an object"),
        ('{"prompt": "Hi", "completion": "Yo", "completion": "No"}', "has the key `completion` twice"),
        ('{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "has the key `content` twice"),
        ("[" * 100_000, "nested too deeply"),
        ({"text": "Hi"}, "neither `messages` nor `prompt` and `completion`"),
        ({"prompt": "Hi"}, "neither `messages` nor"),
        ({"messages": []}, "not a list with messages"),
        ({"messages": "Hi"}, "not a list with messages"),
        ({"messages": ["Hi"]}, "message 1 is a JSON string, not an object with `role` and `content`"),
        ({"messages": [{"role": "user"}]}, "message 1 is not an object with `role` and `content`"),
        (
            {"messages": [turn("user", [1]), turn("assistant", "Yo")]},
            "part 1 of the content of message 1 is a JSON number",
        ),
        ({"messages": [turn("user", None), turn("assistant", "Yo")]}, "content of message 1 is a JSON null"),
        ({"messages": [turn("someone", "Hi"), turn("assistant", "Yo")]}, "role 'someone', which is none of"),
        ({"messages": [turn("assistant", "Yo")]}, "message 1 has the role 'assistant' where 'user' must come"),
        ({"messages": [turn("user", "Hi"), turn("user", "Hi")]}, "message 2 has the role 'user' where 'assistant'"),
        ({"messages": [turn("user", "a"), turn("system", "b")]}, "message 2 has the role 'system' where 'assistant'"),
        ({"messages": [turn("user", "Hi"), turn("assistant", " \n")]}, "message 2 is an empty answer"),
        (
            {"messages": [turn("system", "S"), turn("user", ""), turn("assistant", "Yo")]},
            "message 2 is an empty question",
        ),
        ({"messages": [turn("user", "Hi")]}, "last message is not the assistant's"),
        ({"messages": [turn("system", "S")]}, "last message is not the assistant's"),
        (
            {"messages": [turn("user", "Hi"), {**turn("assistant", "Yo"), "tool_calls": [{}]}]},
            "`tool_calls` of message 2 has no `name` that is a string",
        ),
        ({**GOOD, "prompt_hash": 1}, "`prompt_hash` is not a string"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_reason(write_rows, row: object, reason: str) -> None:
    path = write_rows([GOOD, row])
    seen = refused(path)
    assert f"{path}:2: " in seen
    assert reason in seen
    assert "1 of 2 training rows" in seen


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "completion": 3}, "`completion` is a JSON number, not a string"),
        ({"instruction": "Hi", "output": None}, "has neither `messages`"),
        ({"instruction": "Hi", "output": "Yo", "input": []}, "`input` is a JSON array, not a string"),
        ({"instruction": "Hi", "output": "Yo", "history": [["a"]]}, "pair 1 of `history` is not"),
        ({"conversations": []}, "`conversations` is not a list"),
        ({"conversations": [{"from": "human"}]}, "message 1 is not an object with `role` and `content`, or"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "message 1 is the result of a tool, and nothing"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "message 1 has the role 'assistant' where 'user'"),
    ],
)
def test_a_bad_row_of_another_format(write_rows, row: dict, reason: str) -> None:
    assert f":1: {reason}" in refused(write_rows([row]))


def test_bytes_that_are_not_text_are_named(tmp_path) -> None:
    path = write(tmp_path / "rows.jsonl", b'{"prompt": "\xff"}\n')
    assert "rows.jsonl:1: not UTF-8" in refused(path)
    assert "rows.jsonl:1: not UTF-8" in refused(write(path, bytes(range(128, 256)) * 9))
    assert "rows.json is not UTF-8 text" in refused(write(tmp_path / "rows.json", b'[{"prompt": "\xff"}]'))


def test_at_most_twenty_bad_rows_are_listed(write_rows) -> None:
    seen = refused(write_rows(["{}"] * 25))
    assert seen.count("rows.jsonl:") == 20
    assert "and 5 more" in seen


def test_bad_rows_are_left_out_only_as_far_as_it_is_allowed(write_rows) -> None:
    path = write_rows([GOOD, "{}", GOOD, "{"])
    assert "2 of 4 training rows cannot be used (`max_bad_rows` is 1)" in refused(path, max_bad_rows=1)
    report = check(path, max_bad_rows=2)
    assert [row.line for row in report.rows] == [1, 3]
    assert [row.where for row in report.bad] == [f"{path}:2", f"{path}:4"]
    assert "has no row that can be used" in refused(write_rows(["{}"]), max_bad_rows=1)


def test_rows_of_two_prompt_formats_are_refused(write_rows) -> None:
    rows = [{**GOOD, "prompt_hash": "a"}, {**GOOD, "prompt_hash": "a"}, GOOD, {**GOOD, "prompt_hash": "b"}]
    assert "rows.jsonl:4: rendered with another prompt format" in refused(write_rows(rows))


def test_a_file_that_mixes_formats_is_refused_whatever_is_allowed(write_rows) -> None:
    path = write_rows([GOOD, "{}", GOOD, {"prompt": "Hi", "completion": "Yo"}])
    seen = refused(path, max_bad_rows=9)
    assert f"{path}:1 is chat messages, and the first row that differs, {path}:4, is prompt and completion" in seen


def test_missing_empty_and_wrong_files(tmp_path, write_rows) -> None:
    assert "nowhere.jsonl does not exist" in refused(tmp_path / "nowhere.jsonl")
    assert "is a folder" in refused(tmp_path)
    assert "is empty" in refused(write_rows([]))
    assert "is empty" in refused(write(tmp_path / "none.json", []))
    assert "names no training data" in refused()
    assert "nowhere.jsonl does not exist" in refused(write_rows([GOOD]), held_out_data=tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("content", [[GOOD, GOOD], {"data": [GOOD, GOOD]}])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_document(tmp_path, content: object, indent: int | None) -> None:
    for name in ("rows.json", "rows"):
        path = write(tmp_path / name, json.dumps(content, indent=indent).encode())
        report = check(path)
        assert (report.sources[0].container, report.num_rows) == ("JSON", 2)
        assert report.rows[1].where == f"{path}:row 2"


def test_jsonl_is_recognised_whatever_it_is_called(tmp_path) -> None:
    path = write(tmp_path / "rows.json", (json.dumps(GOOD) + "\n").encode() * 2)
    assert check(path).sources[0].container == "JSONL"


def test_broken_json_documents(tmp_path) -> None:
    whole = json.dumps([GOOD, GOOD], indent=2).encode()
    assert "cut.json is not JSON: line 15, column 5: Unterminated string" in refused(
        write(tmp_path / "cut.json", whole[: whole.rindex(b"messages") + 2])
    )
    twice = b'[{"prompt": "Hi", "prompt": "Ho", "completion": "Yo"}]'
    assert "twice.json has the key `prompt` twice in one object" in refused(write(tmp_path / "twice.json", twice))
    assert "without a list `data`" in refused(write(tmp_path / "b.json", {"data": "Hi"}))
    assert "c.json:row 2: a JSON string, not an object" in refused(write(tmp_path / "c.json", [GOOD, "Hi"]))


def test_parquet(tmp_path) -> None:
    report = check(write_parquet(tmp_path / "rows.parquet", [{**GOOD, "id": "x"}, GOOD]))
    assert (report.sources[0].container, report.sources[0].format) == ("Parquet", "chat messages")
    assert [row.messages for row in report.rows] == [tuple(GOOD["messages"])] * 2


def test_broken_parquet(tmp_path) -> None:
    missing = write_parquet(tmp_path / "missing.parquet", [{"prompt": "Hi"}, {"prompt": "Ho"}])
    assert "missing.parquet:row 1: has neither" in refused(missing)
    whole = write_parquet(tmp_path / "rows.parquet", [GOOD] * 50).read_bytes()
    assert "is not readable Parquet" in refused(write(tmp_path / "cut.parquet", whole[: len(whole) // 2]))
    assert "does not begin as such a file does" in refused(write(tmp_path / "text.parquet", [GOOD]))


def test_a_hub_data_set_in_a_folder(tmp_path) -> None:
    write_parquet(tmp_path / "train.parquet", [{"instruction": "Add", "output": "2"}])
    write_parquet(
        tmp_path / "test.parquet", [{"instruction": "Add", "output": "3"}, {"instruction": "", "output": "4"}]
    )
    (source,) = (report := check({"hub": str(tmp_path)})).sources
    assert (source.container, source.format, report.num_rows) == ("hub data set", "alpaca", 1)
    assert f"{tmp_path}[test]:row 2: `instruction` is an empty question" in refused(
        {"hub": str(tmp_path), "split": "test"}
    )
    assert "[dev] cannot be loaded" in refused({"hub": str(tmp_path), "split": "dev"})


def test_a_hub_data_set_that_cannot_be_reached() -> None:
    assert "The data set org/nowhere[train] cannot be loaded" in refused({"hub": "org/nowhere"})


def test_several_sources_with_weights_and_held_out_files(tmp_path, write_rows) -> None:
    held_out = write(tmp_path / "held.json", [GOOD])
    report = check({"path": write_rows([GOOD, GOOD]), "weight": 0.5}, held_out, held_out_data=held_out)
    assert [row.weight for row in report.rows] == [0.5, 0.5, 1.0]
    assert [row.where for row in report.held_out] == [f"{held_out}:row 1"]
    assert draw_held_out_rows(TrainingConfig(data=held_out, held_out_data=held_out, held_out=0.5), 3) == set()


def test_rows_that_are_too_long_are_refused_and_never_cut(write_rows, make_tokenizer) -> None:
    rows = [{"prompt": "Hi", "completion": "Yo"}, {"prompt": "Hi", "completion": "Y" * 20}]
    report = check(write_rows(rows))
    with pytest.raises(TandemError, match=r"rows\.jsonl:2: 27 tokens long, and at most 26 are accepted"):
        encode_rows(report, make_tokenizer(), max_tokens=26)
    assert [row.num_tokens for row in encode_rows(report, make_tokenizer(), max_tokens=27).rows] == [9, 27]
    left = encode_rows(report, make_tokenizer(), max_tokens=26, max_bad_rows=1)
    assert [row.row.line for row in left.rows] == [1]
    assert left.left_out[0].reason.startswith("27 tokens long")


def test_rows_that_were_bad_when_read_count_when_encoded(write_rows, make_tokenizer) -> None:
    config = TrainingConfig(
        data=write_rows([{"prompt": "Hi", "completion": "Y" * 20}, "{}", {"prompt": "a", "completion": "b"}])
    )
    with pytest.raises(TandemError, match=r"2 of 3 training rows cannot be used"):
        encode_rows(read_rows(config), make_tokenizer(), max_tokens=20, max_bad_rows=1)
