"""No pattern and no schema that people bring keeps the grading from ending."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from evaluation.grading.grading import Ungradable, grade, grade_reply
from evaluation.questions import patterns
from evaluation.questions.files import load_questions
from evaluation.questions.json_values import MISSING, check_schema, parse_json, schema_accepts
from evaluation.questions.patterns import PatternTooSlow, check_pattern, full_match
from evaluation.questions.question import Question
from evaluation.replies import Reply

# Fast on every text that is tried when the file is read, slow on this answer.
PATTERN, HOSTILE = r"(?:[^a-zA-Z0-9 .,]{2}|[^a-zA-Z0-9 .,])+=", "-" * 400 + "=a"
SLOW = [r"(a|aa)+$", r"(?:\w|\w\w|\d)*!", r"(x|xx|xxx)*y?z$", r"^(a|b|ab)*c$"]


def ask(kind: str, *answers: str, **fields: Any) -> Question:
    return Question.model_validate(
        {"id": "q", "slice": "s", "question": "Q?", "kind": kind, "answers": answers} | fields
    )


@pytest.mark.parametrize("pattern", SLOW)
def test_a_slow_pattern_is_refused_when_it_is_read(pattern: str) -> None:
    for field in ({"kind": "regex", "answers": [pattern]}, {"answers": ["1"], "form": f"(?P<value>1)?{pattern}"}):
        with pytest.raises(ValueError, match=r"takes longer than 0\.1 s on .* Write it without"):
            Question.model_validate({"id": "q", "slice": "s", "question": "Q?"} | field)
    for schema in ({"pattern": pattern}, {"properties": {"x": {"patternProperties": {pattern: {}}}}}):
        with pytest.raises(ValueError, match=r"json_schema: .* takes longer"):
            check_schema(schema)


@pytest.mark.parametrize(
    "pattern", [r"[A-Z]{3}-\d{4}", r"(\w+\s?)*\.", r"(a+)+b", r"yes|no", r"(?:\d{1,3},)*\d{3}", "é+"]
)
def test_ordinary_patterns_are_read(pattern: str) -> None:
    check_pattern(pattern)


def test_a_match_without_an_end_is_no_grade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "TIME_LIMIT_S", 0.05)
    check_pattern(PATTERN)
    with pytest.raises(PatternTooSlow):
        full_match(PATTERN, HOSTILE)
    for question in (ask("regex", PATTERN), ask("value", "1", form=f"(?P<value>1?){PATTERN}")):
        with pytest.raises(Ungradable, match=r"took longer than 0\.05 s on this answer\. Write it without"):
            grade(question, HOSTILE)
    schema = {"type": "string", "pattern": f"^{PATTERN}$"}
    reply = grade_reply(ask("json", json_schema=schema), Reply(text=json.dumps(HOSTILE)), retrieves=False)
    assert reply.grade is None and reply.ungradable and "took longer" in reply.ungradable


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"$ref": "#"}},
        {"$ref": "#"},
        {"anyOf": [{"type": "string"}, {"$ref": "#"}]},
        {"if": {"$ref": "#"}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        {"$dynamicAnchor": "node", "not": {"$dynamicRef": "#node"}},
        {"dependentSchemas": {"a": {"$ref": "#"}}},
    ],
)
def test_a_schema_that_comes_back_to_itself_is_refused_at_any_depth_of_calls(schema: dict[str, Any]) -> None:
    def call(depth: int) -> None:
        call(depth - 1) if depth else check_schema(schema | {"title": str(depth)})

    for depth in (0, 250, 500):
        with pytest.raises(ValueError, match="refers to itself without an end"):
            call(depth)


def test_a_schema_may_refer_to_itself_within_a_value() -> None:
    schema = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}]}
    check_schema(schema)
    assert schema_accepts(schema, [[1], [[2]]]) and not schema_accepts(schema, [["x"]])
    for depth in (41, 300, 5_000, 200_000):
        assert not schema_accepts(schema, parse_json("[" * depth + "]" * depth))


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(50):
        schema = {"not": schema}
    with pytest.raises(ValueError, match="deeper than 40 levels"):
        check_schema(schema)


def test_rules_with_patterns_are_the_library_s_own() -> None:
    schema = {
        "properties": {"name": {"pattern": "^[A-Z]"}},
        "patternProperties": {"^n_": {"type": "integer"}},
        "additionalProperties": False,
    }
    check_schema(schema)
    assert schema_accepts(schema, {"name": "Ada", "n_rows": 3}) and schema_accepts(schema, {"name": 5})
    for value in ({"name": "ada"}, {"n_rows": "3"}, {"other": 1}):
        assert not schema_accepts(schema, value)
    inner = {"additionalProperties": {"type": "string"}}
    assert schema_accepts(inner, {"x": "y"}) and not schema_accepts(inner, {"x": 1})


def test_a_key_that_is_there_twice_is_no_json(tmp_path: Path) -> None:
    schema = {"type": "object"}
    question = ask("json", '{"city": "Rome", "age": 3}', json_schema=schema)
    answer = '{"city": "Rome", "age": 4, "age": 3}'
    assert parse_json(answer) is MISSING and not grade(question, answer).correct
    assert parse_json('{"a": {"b": 1, "b": 1}}') is MISSING
    with pytest.raises(ValueError, match="is not JSON"):
        ask("json", answer, json_schema=schema)
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "a", "slice": "s", "question": "Q?", "answers": ["1"], "answers": ["2"]}\n')
    with pytest.raises(TandemError, match=r"questions.jsonl:1: Invalid JSON: the key 'answers' is there twice"):
        load_questions(path)
