"""Rows that are not learnt: each is bad, and the reason names the key or the place."""

from typing import Any

import pytest

from training.config import TrainingConfig
from training.data.rows import DataReport, read_rows

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
SYSTEM = {"role": "system", "content": "S"}
LOST = {"role": "assistant", "content": "No"}
ROW = {"messages": [USER, ANSWER]}
TWO = {"messages": [USER, ANSWER, {**USER, "content": "Q"}, {**ANSWER, "content": "A"}]}
PAIR = {"prompt": "Hi", "chosen": "Yo", "rejected": "No"}


def read(path: Any, **settings: Any) -> DataReport:
    source = {"path": str(path), "ignore": settings.pop("ignore", [])}
    return read_rows(TrainingConfig.model_validate({"data": [source], **settings}))


def answered(**flags: Any) -> dict[str, Any]:
    return {"messages": [USER, {**ANSWER, **flags}]}


def part(**content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [content]}, ANSWER]}


REFUSED: dict[str, tuple[Any, str]] = {
    "unknown key": ({**ROW, "persona": "a pirate"}, "has the key `persona`, which is not read; where it says nothing"),
    "unknown key, false": ({**ROW, "usable": False}, "has the key `usable`"),
    "unknown key, 0": ({**ROW, "correct": 0}, "has the key `correct`"),
    "context beside messages": ({**ROW, "context": "Yo ho."}, "has `context`, which is not read beside `messages`"),
    "another answer": ({**ROW, "output": "Ho"}, "has `output`, which is not read beside `messages`"),
    "another prompt": ({**ROW, "prompt": "Ho"}, "has `prompt`, which is not read beside `messages`"),
    "another text": ({"instruction": "Hi", "output": "Yo", "text": "Hello"}, "has `text`, which is not read beside"),
    "a text of parts of words": ({"instruction": "Hi", "output": "Yo", "text": "Hills and Yonder"}, "has `text`"),
    "question, context, answer": ({"question": "Hi", "context": "c", "answer": "Yo"}, "has `context`"),
    "two answers": ({"question": "Hi", "answer": "Yo", "response": "No"}, "has `response`"),
    "case of a row's key": ({"Messages": [USER, ANSWER]}, "has the key `Messages`, which is not read; `messages` is"),
    "case of one of two keys": (
        {"prompt": "Hi", "Completion": "Yo"}, "has the key `Completion`, which is not read; `comp",
    ),
    "case beside a format": ({**ROW, "System": "S"}, "has the key `System`, which is not read; `system` is"),
    "a space in a key": ({**ROW, " system": "S"}, "has the key ` system`, which is not read; `system` is"),
    "case of a refused key": ({**ROW, "Tools": [{"name": "f"}]}, "the key `Tools`, which is not read; `tools` is"),
    "case of a message's key": (answered(Weight=0), "message 2 has the key `Weight`, which is not read; `weight` is"),
    "unknown key of a message": (answered(emotion="sad"), "message 2 has the key `emotion`"),
    "type of a message": (answered(type="aside"), "message 2 has the key `type`"),
    "refusal": (answered(refusal="I must not."), "message 2 has `refusal`"),
    "mask": (answered(mask=True), "message 2 has `mask`; it can mean both"),
    "train_detail": (answered(train_detail=[{"begin_offset": 0}]), "message 2 has `train_detail`"),
    "images": ({**ROW, "images": ["a.png"]}, "has `images`; images, audio and video are not trained on"),
    "video_path": ({**ROW, "video_path": "a.mp4"}, "has `video_path`; images, audio and video are not trained on"),
    "image part": (part(type="image_url", image_url={"url": "a.png"}), "is of the kind `image_url`"),
    "image beside text": (part(type="text", text="Hi", image="a.png"), "is of the kind `image`"),
    "placeholder": (
        {"messages": [{**USER, "content": "<image>Hi"}, ANSWER], "images": []}, "`images` and `<image>` in",
    ),
    "type of a part that is no text": (part(type=["text"], text="Hi"), "the `type` of part 1 of the content of mess"),
    "other part": (part(type="file", file={}), "has the type 'file'; only parts of type `text`"),
    "part without text": (part(type="text"), "has not exactly one `text`"),
    "key of a part": (
        part(type="text", text="Hi", train=False), "part 1 of the content of message 1 has the key `train`",
    ),
    "weight as a string": (answered(weight="false"), "`weight` of message 2 is a JSON string"),
    "weight 2": (answered(weight=2), "`weight` of message 2 is 2, and not a number from 0 to 1"),
    "weight -1": (answered(weight=-1), "`weight` of message 2 is -1"),
    "weight NaN": (answered(weight=float("nan")), "`weight` of message 2 is nan"),
    "weight infinite": (answered(weight=float("inf")), "`weight` of message 2 is inf"),
    "huge weight": (answered(weight=10**400), "`weight` of message 2 is 1"),
    "weight in a list": (answered(weight=[0]), "`weight` of message 2 is a JSON array"),
    "an answer that shows nothing": (
        {"messages": [USER, {**ANSWER, "content": "\u200b \n"}]}, "message 2 is an empty answer",
    ),
    "an empty list as content": (
        {"messages": [{**USER, "content": []}, ANSWER]}, "content of message 1 is a JSON array",
    ),
    "nothing learnt": (answered(weight=0), "nothing in it is learnt"),
    "nothing learnt by a row's weight": ({**ROW, "weight": 0}, "nothing in it is learnt"),
    "flags that differ": (answered(weight=1, train=False), "has `weight` and `train`, which contradict each other"),
    "masked and learnt": (answered(masked=True, loss=True), "has `loss` and `masked`, which contradict each other"),
    "a question to be learnt": ({"messages": [{**USER, "train": True}, ANSWER]}, "asks by `train` to be learnt"),
    "a row's flag": ({**ROW, "train_on_turn": True}, "has `train_on_turn`; what is learnt is said by `weight`"),
    "two systems": (
        {"system": "R", "messages": [SYSTEM, USER, ANSWER]}, "has `system` and a system message, which differ",
    ),
    "two keys of the system": (
        {**ROW, "system": "S", "system_prompt": "R"}, "has `system` and `system_prompt`, which differ",
    ),
    "system in the middle": ({"messages": [USER, SYSTEM, ANSWER]}, "message 2 has the role 'system' where 'assistant'"),
    "assistant first": ({"messages": [ANSWER, USER, ANSWER]}, "message 1 has the role 'assistant' where 'user'"),
    "two roles": ({"messages": [{**USER, "from": "gpt"}, ANSWER]}, "has `role` and `from`, which contradict"),
    "two contents": ({"messages": [{**USER, "value": "Ho"}, ANSWER]}, "has `content` and `value`, which differ"),
    "name that is no text": ({"messages": [{**USER, "name": 3}, ANSWER]}, "`name` of message 1 is a JSON number"),
    "a dictionary of lists": (
        {"prompt": ["a?", "b?"], "completion": ["x", "y"]}, "`prompt` is a JSON array, not a string",
    ),
    "an object as prompt": ({"prompt": {"text": "Hi"}, "completion": "Yo"}, "`prompt` is a JSON object"),
    "history of threes": ({"query": "Hi", "response": "Yo", "history": [["a", "b", "c"]]}, "pair 1 of `history`"),
    "history with nulls": ({"query": "Hi", "response": "Yo", "history": [["a", None]]}, "pair 1 of `history`"),
    "input and context": (
        {"instruction": "a", "input": "b", "context": "c", "output": "d"}, "has `input` and `context`",
    ),
    "a broken string of JSON": ({"messages": '[{"role": '}, "`messages` is not a list with messages"),
    "a string of other JSON": ({"messages": '{"role": "user"}'}, "`messages` is not a list with messages"),
    "messages as a text of JSON": (
        {"prompt": '[{"role": "user", "content": "Hi"}]', "completion": "Yo"}, "`prompt` is a text that holds messages",
    ),
    "an answer as a text of JSON": (
        {"prompt": "Hi", "completion": '{"content": "Yo", "role": "Assistant"}'}, "`completion` is a text that holds",
    ),
    "messages as Python prints them": (
        {"prompt": "[{'content': 'Hi', 'role': 'user'}]", "completion": "Yo"}, "`prompt` is a text that holds messages",
    ),
    "another version of the answer": ({**ROW, "updated_answer": "Ho"}, "has the key `updated_answer`"),
    "a prompt behind the prompt": ({**ROW, "meta_prompt": "S"}, "has the key `meta_prompt`"),
    "a passage": ({**ROW, "doc": "Yo is what people say."}, "has the key `doc`"),
    "a key without letters": ({**ROW, "\U0001f4a5": 0}, "has the key `\U0001f4a5`"),
    "a message's key without letters": (answered(**{"-": 0}), "message 2 has the key `-`"),
    "the question as another answer": ({**ROW, "output": "Hi"}, "has `output`, which is not read beside `messages`"),
    "the answer as another question": ({**ROW, "question": "Yo"}, "has `question`, which is not read beside"),
    "label": ({**ROW, "label": False}, "has `label`; labels of good and bad answers"),
    "tools": ({**ROW, "tools": [{"type": "function"}]}, "tool 1 has no `name`"),
    "reasoning of a row": ({**ROW, "reasoning": "So."}, "has `reasoning`; thinking is read from"),
}  # fmt: skip

REFUSED_PAIRS: dict[str, tuple[Any, str]] = {
    "dialogue in one text": ({"chosen": "Human: Hi\nYo", "rejected": "Human: Hi\nNo"}, "hold no question"),
    "another prompt": (
        {**PAIR, "chosen": [USER, ANSWER], "rejected": [USER, LOST], "prompt": "Q"}, "`prompt` is not what",
    ),
    "a system message only in the prompt": (
        {"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [USER, LOST]}, "`prompt` is not what",
    ),
    "a prompt with the answer": (
        {"prompt": [USER, ANSWER], "chosen": [USER, ANSWER], "rejected": [USER, LOST]}, "`prompt` is",
    ),
    "one whole side": ({"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": "No"}, "and the other does not"),
    "two prompts": ({**PAIR, "question": "Ho"}, "`question` is not what"),
    "an unlearnt answer": (
        {"prompt": "Hi", "chosen": {**ANSWER, "weight": 0}, "rejected": LOST}, "marked as not learnt",
    ),
    "a weight": ({**PAIR, "weight": 0}, "has a `weight`, which a preference pair cannot have"),
    "unknown key": ({**PAIR, "margin": 0.5}, "has the key `margin`"),
    "tools of OpenAI's input": (
        {"input": {"messages": [USER], "tools": [{"type": "function"}]}, "preferred_output": [ANSWER],
         "non_preferred_output": [LOST]},
        "tool 1 has no `name`",
    ),
    "questions that differ": (
        {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "Ho"}, LOST]}, "differ before their last message",
    ),
    "sides as texts of JSON": (
        {**PAIR, "chosen": '[{"role": "assistant", "content": "Yo"}]'}, "`chosen` is a text that holds messages",
    ),
    "two pairs": (
        {**PAIR, "chosen_response": "a", "rejected_response": "b"},
        "has `chosen_response`, which is not read beside `prompt` and `chosen` and `rejected`",
    ),
    "three answers": ({**PAIR, "rejected": ["No", "Nay"]}, "`rejected` is a JSON array, not a string"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_row_is_refused(write_rows, row: Any, reason: str) -> None:
    path = write_rows([row])
    (bad,) = read(path).bad
    assert bad.where == f"{path}:1"
    assert reason in bad.reason


@pytest.mark.parametrize(("row", "reason"), REFUSED_PAIRS.values(), ids=REFUSED_PAIRS)
def test_a_pair_is_refused(write_rows, row: Any, reason: str) -> None:
    (bad,) = read(write_rows([row]), objective="dpo").bad
    assert reason in bad.reason


def test_answers_that_count_differently_are_not_merged(write_rows) -> None:
    row = {"messages": [USER, ANSWER, {**ANSWER, "weight": 0}]}
    (bad,) = read(write_rows([row]), consecutive_turns="merge").bad
    assert bad.reason == "message 2 and message 3 cannot be merged: only one of them is learnt"
    row = {"messages": [{**USER, "name": "bob"}, {**USER, "name": "eve"}, ANSWER]}
    (bad,) = read(write_rows([row]), consecutive_turns="merge").bad
    assert bad.reason == "message 1 and message 2 cannot be merged: their names differ"


def test_a_pair_with_another_answer_is_not_learnt_as_an_answer(write_rows) -> None:
    (bad,) = read(write_rows([{"prompt": "Hi", "messages": [USER, ANSWER], "chosen": "Ho", "rejected": "No"}])).bad
    assert bad.reason == "has `chosen` and `rejected`, which are learnt with `training.objective: dpo`"


def test_keys_that_say_nothing_are_listed_once_for_each_source(write_rows) -> None:
    meta = {
        "id": 7, "source": 3, "score": 0.5, "createdAt": "2026-01-01", "language": "en", "category": "qa", "topic": [],
        "split": "train", "url": "http://a", "hash": "f0", "metadata": {"a": 1}, "Unnamed: 0": 0, "score_chosen": 9,
    }  # fmt: skip
    messages = [{**USER, "timestamp": 3, "id": "m"}, ANSWER]
    report = read(write_rows([{"messages": messages, **meta}, ROW, {**ROW, "sources": [{"name": "a.md"}]}]))
    assert report.bad == ()
    assert report.sources[0].not_used == tuple(sorted({
        "score", "createdAt", "language", "category", "split", "url", "hash", "metadata", "Unnamed: 0", "score_chosen",
        "source", "sources", "messages.timestamp", "messages.id",
    }))  # fmt: skip
    assert [row.id for row in report.rows] == ["7", "2", "3"]


def test_other_json_is_a_text(write_rows) -> None:
    sides = {"prompt": '[{"role": "engineer", "content": "Hi"}]', "completion": '{"role": "user"}'}
    (row,) = read(write_rows([sides])).rows
    assert [message["content"] for message in row.messages] == list(sides.values())


def test_names_of_documents_are_read_beside_other_sources(write_rows) -> None:
    report = read(write_rows([{**ROW, "sources": [{"name": "a"}], "source": "a.md"}, {**ROW, "source": ["a", "b"]}]))
    assert [row.sources for row in report.rows] == [("a.md",), ("a", "b")]
    assert report.sources[0].not_used == ("sources",)


def test_keys_that_the_user_declares_to_say_nothing(write_rows) -> None:
    row = {"messages": [{**USER, "mood": "low"}, {**ANSWER, "weight": 0, "name": "x"}], "persona": "p", "prompt": "Ho"}
    path = write_rows([row, ROW])
    assert len(read(path, ignore=["persona"]).bad) == 1
    ignore = ["persona", "prompt", "messages.mood", "messages.weight", "messages.name", "absent"]
    report = read(path, ignore=ignore)
    assert report.bad == ()
    assert report.rows[0].messages == report.rows[1].messages
    assert report.sources[0].not_used == tuple(sorted(ignore[:-1]))


def test_names_that_are_ignored_are_not_read(write_rows) -> None:
    row = {**ROW, "id": "a", "source": "a.md", "prompt_hash": "p"}
    (read_row,) = read(write_rows([row]), ignore=["id", "source", "prompt_hash"]).rows
    assert (read_row.id, read_row.sources, read_row.prompt_hash) == ("1", (), None)


def test_an_ignored_key_can_decide_the_format(write_rows) -> None:
    path = write_rows([{**PAIR, "messages": [USER, ANSWER]}])
    assert read(path, ignore=["chosen", "rejected"]).sources[0].format == "chat messages"


def test_digests_of_rows_do_not_change(write_rows) -> None:
    """What earlier versions gave these rows; the names of speakers were not read then."""
    (plain, named) = read(write_rows([ROW, {"messages": [{**USER, "name": "bob"}, ANSWER]}])).rows
    assert plain.digest == named.digest == "b764ae59585f6c6e6412f566df8a61ba8468fbb09babc569491671de896d5488"
    (pair,) = read(write_rows([PAIR]), objective="dpo").rows
    assert pair.digest == "cbe86020fd0c7e324fe2f94d3679a81599c82adedf90c590cbc51964e4960255"
