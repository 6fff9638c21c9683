"""What a question of each kind needs, and the files that it may stand in."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from evaluation.questions.files import LIST_COLUMNS, load_general, load_questions
from evaluation.questions.question import GENERAL, Question

PLAIN: dict[str, Any] = {"id": "q", "slice": "s", "question": "What is it?"}
PERSON = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}
COLUMNS = "id,slice,question,answers,sources,tags,paraphrases,answerable"


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(PLAIN | row) + "\n" for row in rows))
    return path


def write_csv(folder: Path, text: str | bytes, name: str = "questions.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"answers": ["26"]}, ("26",)),
        ({"kind": "number", "answers": [26, "384,400 km", 0.5], "tolerance": 1}, ("26", "384,400 km", "0.5")),
        ({"kind": "number", "answers": ["1e6"], "tolerance_percent": 2.5}, ("1e6",)),
        ({"kind": "number", "answerable": False}, ()),
        ({"kind": "regex", "answers": [r"\d{4}-\d\d", "n/a"]}, (r"\d{4}-\d\d", "n/a")),
        ({"kind": "json", "json_schema": PERSON}, ()),
        ({"kind": "json", "json_schema": PERSON, "answers": [{"age": 3}, '{"age": 4}']}, ('{"age": 3}', '{"age": 4}')),
        ({"kind": "json", "json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}}}, ()),
        ({"kind": "choice", "choices": ["Iron", "Gold"], "answers": ["Gold"]}, ("Gold",)),
        ({"kind": "choice", "choices": ["<", ">"], "answers": [">"]}, (">",)),
        ({"kind": "rubric", "rubric": "Names a cause."}, ()),
        ({"kind": "rubric", "rubric": "Names a cause.", "answers": ["Rust"]}, ("Rust",)),
    ],
)
def test_each_kind_is_read_and_can_be_written_and_read_again(
    tmp_path: Path, row: dict[str, Any], answers: tuple[str, ...]
) -> None:
    (question,) = load_questions(write(tmp_path, row))
    assert question.answers == answers
    assert Question.model_validate_json(question.model_dump_json()) == question


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kind": "guess", "answers": ["a"]}, "kind: Input should be 'value', 'number', 'regex'"),
        ({"answers": ["_"]}, "'_' holds no word to compare"),
        ({"answers": [26]}, "answers.0: Input should be a valid string"),
        ({"kind": "number", "answers": ["many"]}, "'many' is not a number"),
        ({"kind": "number", "answers": ["20-26"]}, "'20-26' is not a number"),
        ({"kind": "number", "answers": [True]}, "'true' is not a number"),
        ({"kind": "number", "answers": [26], "tolerance": -1}, "tolerance: Input should be greater than or equal to 0"),
        ({"answers": ["26"], "tolerance": 1}, "tolerance belongs to questions of kind 'number'"),
        ({"kind": "regex", "answers": ["("]}, "is not a regular expression"),
        ({"kind": "regex", "answers": ["(?i)a"]}, "is not a regular expression"),
        ({"kind": "regex", "answers": ["a*"]}, "matches an empty answer"),
        ({"kind": "regex", "answers": ["a"], "form": "(?P<value>.)"}, "form belongs to"),
        ({"kind": "json"}, "needs json_schema"),
        ({"kind": "json", "json_schema": {"type": "number "}}, "is not a JSON schema"),
        ({"kind": "json", "json_schema": {"pattern": "["}}, "is not a JSON schema"),
        ({"kind": "json", "json_schema": {"$ref": "http://127.0.0.1:9/s.json"}}, "nothing is fetched"),
        ({"kind": "json", "json_schema": {"items": {"$ref": "#/$defs/missing"}}}, "which is not in it"),
        ({"kind": "json", "json_schema": {"$ref": "#"}}, "refers to itself without an end"),
        ({"kind": "json", "json_schema": PERSON, "answers": [{"age": "3"}]}, "is not JSON that json_schema accepts"),
        ({"kind": "json", "json_schema": PERSON, "answers": ["{"]}, "is not JSON that json_schema accepts"),
        ({"kind": "json", "json_schema": PERSON, "answerable": False}, "cannot have `answerable: false`"),
        ({"kind": "choice", "choices": ["Iron"], "answers": ["Iron"]}, "has 2 to 26 choices; this one has 1"),
        ({"kind": "choice", "choices": [str(n) for n in range(27)], "answers": ["1"]}, "this one has 27"),
        ({"kind": "choice", "choices": ["Iron", "Iron "], "answers": ["Iron"]}, "two of them are the same"),
        ({"kind": "choice", "choices": ["Iron", "Gold"], "answers": ["Tin"]}, "exactly one of the choices"),
        ({"kind": "choice", "choices": ["a", "b"], "answers": ["a", "b"]}, "exactly one of the choices"),
        ({"kind": "rubric"}, "needs rubric"),
        ({"answers": ["a"], "rubric": "Names it."}, "rubric belongs to questions of kind 'rubric'"),
        ({"answers": ["a"], "paraphrases": ["what  IS it?"]}, "differ from the question"),
        ({"answers": ["a"], "paraphrases": ["Which?", "which?"]}, "differ from the question and from the others"),
        ({"answers": ["a"], "paraphrases": [f"{n}?" for n in range(21)]}, "paraphrases: at most 20 are accepted"),
        ({"answers": ["a"], "tags": [str(n) for n in range(1000)]}, "at most 100 are accepted, and there are 1,000"),
        ({"answers": ["a"], "slice": GENERAL}, "is for the questions in the file `evaluation.general`"),
    ],
)
def test_a_mistake_in_a_kind_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = write(tmp_path, {"id": "first", "answers": ["a"]}, row)
    with pytest.raises(TandemError, match=r"questions\.jsonl:2:") as caught:
        load_questions(path)
    assert said in caught.value.seen and caught.value.accepted and caught.value.remedy


def test_general_questions_are_a_slice_of_their_own(tmp_path: Path) -> None:
    rows = [{"id": "a", "answers": ["a"], "slice": "s"}, {"id": "b", "answers": ["b"], "slice": "overall"}]
    path = write(tmp_path, *rows)
    path.write_text(path.read_text() + '{"id": "c", "question": "What?", "answers": ["c"]}\n')
    questions = load_general(path)
    assert [(question.id, question.slice) for question in questions] == [(name, GENERAL) for name in "abc"]
    assert Question.model_validate_json(questions[0].model_dump_json()) == questions[0]
    with pytest.raises(TandemError, match=r"questions\.jsonl:3: id 'c' was used among the test questions"):
        load_general(path, [questions[2]])


def test_csv_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    rows = [
        'a,s,"What, in ""brackets""\r\nand on two lines?",26 | twenty-six,a.md | b/c.md,x | y,Which? | What else?,',
        ",,,,,,,",
        "b,unanswerable,Who?,,,,,FALSE",
    ]
    text = "\ufeff" + "\r\n".join([COLUMNS, *rows]) + "\r\n"
    first, second = load_questions(write_csv(tmp_path, text))
    assert first.question == 'What, in "brackets"\r\nand on two lines?'
    assert first.answers == ("26", "twenty-six") and first.sources == ("a.md", "b/c.md")
    assert first.tags == ("x", "y") and first.paraphrases == ("Which?", "What else?")
    assert (first.answerable, second.answerable, second.answers) == (True, False, ())


@pytest.mark.parametrize("between", [";", "\t"])
def test_csv_with_another_separator_and_an_upper_case_name(tmp_path: Path, between: str) -> None:
    rows = [["id", "question", "answers", "slice"], ["a", "What, then?", "1", "s"]]
    (question,) = load_questions(write_csv(tmp_path, "\n".join(map(between.join, rows)), "QUESTIONS.CSV"))
    assert (question.question, question.answers) == ("What, then?", ("1",))


def test_csv_holds_every_kind(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        "id,slice,question,kind,answers,tolerance_percent,json_schema,choices,rubric\n"
        'a,s,How many?,number,"384,400 km | 238,855 miles",1.5,,,\n'
        'b,s,Which record?,json,"{""age"": 3}",,"{""type"": ""object""}",,\n'
        "c,s,Which?,choice,Gold,,,Iron | Gold,\n"
        "d,s,Why?,rubric,,,,,Names a cause.\n",
    )
    number, record, choice, rubric = load_questions(path)
    assert (number.answers, number.tolerance_percent) == (("384,400 km", "238,855 miles"), 1.5)
    assert (record.answers, record.json_schema) == (('{"age": 3}',), {"type": "object"})
    assert choice.choices == ("Iron", "Gold") and rubric.rubric == "Names a cause."


def test_csv_and_json_lines_of_the_same_questions_are_the_same(tmp_path: Path) -> None:
    row = {"id": "a", "answers": ["1", "2"], "sources": ["a.md"], "tags": ["t"], "form": "<(?P<value>.)>"}
    text = "id,slice,question,answers,sources,tags,form\na,s,What is it?,1 | 2,a.md,t,<(?P<value>.)>\n"
    assert load_questions(write_csv(tmp_path, text)) == load_questions(write(tmp_path, row))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{COLUMNS},anwsers\n",
            r"questions\.csv:1: there is no column 'anwsers'\. The columns are id, slice, question",
        ),
        ("id,slice,question,answers,id\n", r"questions\.csv:1: the column 'id' is there twice"),
        ("id,slice,question,answers\na,s,What?,\n", r"questions\.csv:2: an answerable question needs"),
        ("id,slice,question,answers\na,s,What?,1\na,s,Who?,2\n", r"questions\.csv:3: id 'a' was used in line 2"),
        ('id,slice,question,answers\na,s,"What\nis\nit?",1\nb,s,Who?,\n', r"questions\.csv:5: an answerable"),
        ("id,slice,question,answers\na,s,What, then?,1\n", r"questions\.csv:2: 5 cells, and there are 4 columns"),
        ("id,slice,question,answers\na,s,What?\n", r"questions\.csv:2: 3 cells, and there are 4 columns"),
        ('id,slice,question,answers\na,s,"What?,1\nb,s,Who?,2\n', r"questions\.csv:2: unexpected end of data"),
        ('id,slice,question,answers\na,s,"What" is,1\n', r"questions\.csv:2: .*expected after"),
        ("id,slice,question,kind,json_schema\na,s,What?,json,{\n", r"questions\.csv:2: json_schema: Invalid JSON"),
        ("id,slice,question,answers,tags\na,s,Q,1," + " | ".join("x" * 1000) + "\n", "there are 1,000"),
        ("id,slice,answers\na,s,1\n", r"questions\.csv:2: question: Field required"),
        ("id,slice,question,answers\n", "holds no questions"),
        ("", "holds no questions"),
        ("\ufeff\r\n", "holds no questions"),
        ("id,slice,question,answers\na,s,Где Цюрих?,1\n".encode("cp1251"), r"csv:2: the text is not UTF-8"),
        ("id,slice\n".encode("utf-16"), "holds no questions"),
        ("id,slice\n".encode("utf-16")[:-1], r"csv:1: the text is not UTF-16"),
    ],
)
def test_a_mistake_in_csv_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(TandemError, match=said) as caught:
        load_questions(write_csv(tmp_path, text))
    assert caught.value.accepted and caught.value.remedy


def test_at_most_ten_mistakes_of_a_csv_are_shown(tmp_path: Path) -> None:
    rows = "".join(f"q{number},s,What?,\n" for number in range(12))
    with pytest.raises(TandemError, match=r"questions\.csv:11: .* and 2 more mistakes") as caught:
        load_questions(write_csv(tmp_path, f"id,slice,question,answers\n{rows}"))
    assert "questions.csv:12:" not in caught.value.seen


def test_every_list_of_a_question_may_be_a_list_in_csv() -> None:
    assert set(LIST_COLUMNS) == {name for name, field in Question.model_fields.items() if field.default == ()}
