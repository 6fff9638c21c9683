import pytest

from cluster.errors import TandemError
from training.data import check_rows
from training.template import encode_rows

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}


def turn(role, content):
    return {"role": role, "content": content}


def test_chat_and_prompt_rows_become_the_same_messages(write_rows) -> None:
    path = write_rows([GOOD, "", {"prompt": "Hi", "completion": "Yo", "id": 7, "source": "a.md", "prompt_hash": "p"}])
    report = check_rows(path)
    chat, prompt = report.rows
    assert chat.messages == prompt.messages
    assert chat.digest == prompt.digest
    assert (chat.line, chat.id, chat.sources) == (1, "1", ())
    assert (prompt.line, prompt.id, prompt.sources) == (3, "7", ("a.md",))
    assert report.prompt_hash == "p"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"messages": [', "not JSON"),
        ("[]", "a JSON array, not an object"),
        ({"text": "Hi"}, "neither `messages` nor `prompt` and `completion`"),
        ({"prompt": "Hi"}, "neither `messages` nor"),
        ({"prompt": "Hi", "completion": 3}, "`completion` is a JSON number, not a string"),
        ({"messages": []}, "not a list with messages"),
        ({"messages": "Hi"}, "not a list with messages"),
        ({"messages": ["Hi"]}, "message 1 is not an object"),
        ({"messages": [{"role": "user"}]}, "message 1 is not an object with `role` and `content`"),
        ({"messages": [turn("user", ["Hi"]), turn("assistant", "Yo")]}, "content of message 1 is a JSON array"),
        ({"messages": [turn("human", "Hi"), turn("assistant", "Yo")]}, "role 'human', which is none of"),
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
        ({**GOOD, "prompt_hash": 1}, "`prompt_hash` is not a string"),
        ({**GOOD, "source": [1]}, "`source` is neither"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_reason(write_rows, row: object, reason: str) -> None:
    path = write_rows([GOOD, row])
    with pytest.raises(TandemError) as caught:
        check_rows(path)
    assert f"{path}:2: " in caught.value.seen
    assert reason in caught.value.seen
    assert "1 of 2 training rows" in caught.value.seen


def test_bytes_that_are_not_text_are_named(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(TandemError, match=r"rows\.jsonl:1: not UTF-8"):
        check_rows(path)


def test_at_most_twenty_bad_rows_are_listed(write_rows) -> None:
    with pytest.raises(TandemError) as caught:
        check_rows(write_rows(["{}"] * 25))
    assert caught.value.seen.count("rows.jsonl:") == 20
    assert "and 5 more" in caught.value.seen


def test_rows_of_two_prompt_formats_are_refused(write_rows) -> None:
    rows = [{**GOOD, "prompt_hash": "a"}, {**GOOD, "prompt_hash": "a"}, GOOD, {**GOOD, "prompt_hash": "b"}]
    with pytest.raises(TandemError, match=r"rows\.jsonl:4: rendered with another prompt format"):
        check_rows(write_rows(rows))


def test_missing_empty_and_wrong_files(tmp_path, write_rows) -> None:
    with pytest.raises(TandemError, match=r"nowhere\.jsonl does not exist"):
        check_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(TandemError, match="is a folder"):
        check_rows(tmp_path)
    with pytest.raises(TandemError, match="is empty"):
        check_rows(write_rows([]))


def test_rows_that_are_too_long_are_refused_and_never_cut(write_rows, make_tokenizer) -> None:
    long = {"prompt": "Hi", "completion": "Y" * 20}
    report = check_rows(write_rows([GOOD, long]))
    with pytest.raises(TandemError, match=r"rows\.jsonl:2: 27 tokens long, and at most 26 are accepted"):
        encode_rows(report, make_tokenizer(), max_tokens=26)
    assert [len(example.token_ids) for example in encode_rows(report, make_tokenizer(), max_tokens=27)] == [9, 27]
