"""Filters as they stand in a request: JSON in the shape of OpenAI's vector stores, with `not` besides.

    {"type": "and", "filters": [{"type": "gte", "key": "year", "value": 2024}, {"type": "in", "key": "team", ...}]}

A key is `source`, `position`, or the name of metadata. Nothing else of a row can be named, so no filter reaches the
fields that rights are kept in.
"""

import json
from typing import Any, get_args

from cluster.errors import TandemError
from retrieval.filters.filters import MAX_DEPTH, METADATA, And, FieldComparison, Filter, In, Not, Operator, Or

_OPERATORS: dict[str, Operator] = dict(zip(("eq", "ne", "lt", "lte", "gt", "gte"), get_args(Operator), strict=True))
_COLUMNS = ("source", "position")
_SHAPES: dict[str, set[str]] = {
    **{kind: {"type", "key", "value"} for kind in (*_OPERATORS, "in", "nin")},
    "and": {"type", "filters"}, "or": {"type", "filters"}, "not": {"type", "filter"},
}  # fmt: skip


def parse_filter_text(text: str) -> Filter:
    """The filter that a text in JSON describes. Raises TandemError where it describes none."""
    try:
        return parse_filter(json.loads(text))
    except (ValueError, RecursionError):
        raise _malformed("It is no JSON") from None


def parse_filter(value: Any, depth: int = MAX_DEPTH) -> Filter:
    """The filter that a JSON value describes.

    Raises:
        TandemError: it is of another shape, or deeper than `depth`. Fields and values are checked when it is encoded.
    """
    if depth == 0:
        raise _malformed(f"It is deeper than {MAX_DEPTH} levels")
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise _malformed("It has no `type` that is known")
    if set(value) != _SHAPES[kind]:
        raise _malformed(f"`{kind}` takes {', '.join(sorted(_SHAPES[kind]))}")
    if kind == "not":
        return Not(parse_filter(value["filter"], depth - 1))
    if kind in ("and", "or"):
        if not isinstance(value["filters"], list):
            raise _malformed(f"`{kind}` takes a list of filters")
        inner = tuple(parse_filter(each, depth - 1) for each in value["filters"])
        return And(inner) if kind == "and" else Or(inner)
    return _leaf(kind, value["key"], value["value"])


def _leaf(kind: str, key: Any, value: Any) -> Filter:
    if not isinstance(key, str):
        raise _malformed("`key` is the name of a field")
    field = key if key in _COLUMNS else f"{METADATA}{key}"
    if kind not in ("in", "nin"):
        return FieldComparison(field, _OPERATORS[kind], value)
    if not isinstance(value, list):
        raise _malformed(f"`{kind}` takes a list of values")
    leaf = In(field, tuple(value))
    return leaf if kind == "in" else Not(leaf)


def _malformed(seen: str) -> TandemError:
    return TandemError(
        f"The filter is malformed. {seen}.",
        f"Types are {', '.join(_SHAPES)}; an example: " + '{"type": "eq", "key": "team", "value": "hr"}.',
        "Correct the filter.",
    )
