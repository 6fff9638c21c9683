"""What a right answer is, as an assertion of promptfoo: JavaScript on the answer, a JSON schema, or a model's word.

JavaScript is one expression. Whatever a question holds stands in it as escapes of letters and digits alone, so that it
can neither end a literal nor be a template.
"""

import json
import re
import string
import unicodedata
from collections.abc import Callable
from typing import Any

from evaluation.questions.numbers import parse_number
from evaluation.questions.question import Question

# What a regular expression may hold that means the same in Python and in JavaScript.
SAME_IN_BOTH = re.compile(r"(?:[^\\(]|\\[dDwWsSbB.\-+*?^$|()\[\]{}/\\]|\((?!\?)|\(\?[:=!]|\(\?P<value>)*")
POSSESSIVE = re.compile(r"[*+?}]\+")
# Keywords of JSON Schema that promptfoo's checker (ajv, draft 7) passes over.
PASSED_OVER = {
    "prefixItems", "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "dependentSchemas", "minContains",
    "maxContains", "$dynamicRef", "$dynamicAnchor", "$anchor", "$vocabulary",
}  # fmt: skip
# Scripts that write words without spaces between them.
WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
REFUSAL = (
    "The answer says plainly that this is not known or not in the documents, and gives no value for it: no name, "
    "number, date or guess."
)


class NotExpressible(Exception):
    """Why promptfoo cannot grade a question."""


def assertion_of(question: Question) -> dict[str, Any]:
    """`type` and `value` of the assertion. Raises NotExpressible where there is none that means the same."""
    if not question.answerable:
        return {"type": "llm-rubric", "value": REFUSAL}
    return ASSERTIONS[question.kind](question)


def _value(question: Question) -> dict[str, Any]:
    return _javascript(_formed(question, _stands_in(question)))


def _number(question: Question) -> dict[str, Any]:
    return _javascript(_formed(question, _number_stands_in(question)))


def _regex(question: Question) -> dict[str, Any]:
    return _javascript(" || ".join(f"{_pattern(pattern)}.test(output.trim())" for pattern in question.answers))


def _choice(question: Question) -> dict[str, Any]:
    letter = string.ascii_uppercase[question.choices.index(question.answers[0])]
    return _javascript(rf"/^[^\p{{L}}\p{{N}}]*{letter}(?:[).:][\s\S]*|[^\p{{L}}\p{{N}}]*)$/u.test(output)")


def _json(question: Question) -> dict[str, Any]:
    schema = {key: value for key, value in (question.json_schema or {}).items() if key != "$schema"}
    if passed_over := sorted(PASSED_OVER & _keywords(schema)):
        raise NotExpressible(f"promptfoo's JSON Schema passes over {', '.join(passed_over)}")
    if re.search(r"\{[{%#]", json.dumps(schema, ensure_ascii=False)):
        raise NotExpressible("promptfoo would read {{, {% or {# in the schema as a template")
    if not question.answers:
        return {"type": "is-json", "value": schema}
    # Both have to hold, and an accepted value fits the schema: the value alone says it.
    accepted = ", ".join(f"JSON.parse({_text(answer)})" for answer in question.answers)
    same = (
        "const same = (a, b) => a === b || (a && b && typeof a === 'object' && typeof b === 'object' && "
        "Array.isArray(a) === Array.isArray(b) && Object.keys(a).length === Object.keys(b).length && "
        "Object.keys(a).every((key) => key in b && same(a[key], b[key])));"
    )
    return _javascript(
        f"(() => {{ {same} try {{ const given = JSON.parse(output); return [{accepted}].some((value) => "
        "Boolean(same(given, value))); } catch { return false; } })()"
    )


def _rubric(question: Question) -> dict[str, Any]:
    rubric = f"{question.rubric}"
    if question.answers:
        rubric += f" Accepted: {'; '.join(question.answers)}."
    if re.search(r"\{[{%#]|[}%#]\}|file://", rubric):
        raise NotExpressible("promptfoo would read the rubric as a template or as a file's name")
    return {"type": "llm-rubric", "value": rubric}


ASSERTIONS: dict[str, Callable[[Question], dict[str, Any]]] = {
    "value": _value, "number": _number, "regex": _regex, "choice": _choice, "json": _json, "rubric": _rubric,
}  # fmt: skip


def _javascript(expression: str) -> dict[str, Any]:
    # `{%`, `{{` and `{#` do not occur; between two braces of the code stands a space.
    return {"type": "javascript", "value": expression.replace("{{", "{ {").replace("}}", "} }")}


def _formed(question: Question, holds: str) -> str:
    """`holds` on the value that stands in the form, where the question asks for one."""
    if question.form is None:
        return f"((text) => {holds})(output)"
    form = _pattern(question.form, "")
    return f"((form) => form !== null && ((text) => {holds})(form.groups.value))(output.trim().match({form}))"


def _stands_in(question: Question) -> str:
    """Whether an accepted value stands in `text` as whole words."""
    return " || ".join(
        rf"/{_edge(value[:1], '(?<!')}{_words(value)}{_edge(value[-1:], '(?!')}/iu.test(text)"
        for value in (answer.strip() for answer in question.answers)
    )


def _edge(letter: str, look: str) -> str:
    """No letter or digit beside the value, where it begins or ends with one and its script has spaces."""
    without = unicodedata.name(letter, "").startswith(WITHOUT_SPACES)
    return "" if without or not letter.isalnum() else rf"{look}[\p{{L}}\p{{N}}])"


def _words(value: str) -> str:
    return r"\s+".join("".join(map(_escaped, word)) for word in value.split())


def _escaped(letter: str) -> str:
    return letter if letter.isalnum() else rf"\u{{{ord(letter):x}}}"


def _number_stands_in(question: Question) -> str:
    """Whether a number of `text` is within the tolerance of an accepted one, with the same unit behind it."""
    tests = []
    for answer in question.answers:
        number = parse_number(answer)
        if number is None:
            raise NotExpressible("the accepted number cannot be read")
        wide = max(question.tolerance or 0.0, abs(float(number.value)) * (question.tolerance_percent or 0.0) / 100)
        low, high = float(number.value) - wide, float(number.value) + wide
        unit = answer.strip()[-len(number.unit) :] if number.unit else ""
        behind = rf"\s?{_words(unit)}{_edge(unit[-1:], '(?!')}" if unit else r"(?!\d)"
        digits = r"-?(?:\d+(?:,\d\d\d)*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
        found = rf"/(?<![\p{{L}}\p{{N}}.,]){digits}{behind}/gu"
        tests.append(
            f"(text.match({found}) || []).map((found) => parseFloat(found.replace(/,/g, ''))).some((number) => "
            f"number >= {low!r} && number <= {high!r})"
        )
    return " || ".join(tests)


def _pattern(pattern: str, flags: str = "i") -> str:
    """A regular expression that the whole text has to match."""
    if not SAME_IN_BOTH.fullmatch(pattern) or POSSESSIVE.search(pattern) or any(ord(each) > 0xFFFF for each in pattern):
        raise NotExpressible("the pattern may mean something else in JavaScript, which promptfoo runs")
    written = pattern.replace("(?P<value>", "(?<value>")
    return f"new RegExp({_text(f'^(?:{written})$')}, '{flags}')"


def _text(text: str) -> str:
    """A JavaScript string: what is no letter or digit of ASCII is an escape."""
    units = text.encode("utf-16-be")
    codes = [int.from_bytes(units[place : place + 2], "big") for place in range(0, len(units), 2)]
    return "'" + "".join(chr(code) if code < 128 and chr(code).isalnum() else rf"\u{code:04x}" for code in codes) + "'"


def _keywords(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return set(schema) | {each for value in schema.values() for each in _keywords(value)}
    return {each for value in schema for each in _keywords(value)} if isinstance(schema, list) else set()
