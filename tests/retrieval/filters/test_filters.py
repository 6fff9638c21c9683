"""What filters may say, and how a value is written; what the stores make of it is in test_rights.py."""

from typing import Any

import pytest

from cluster.errors import TandemError
from retrieval.filters.filter_json import parse_filter, parse_filter_text
from retrieval.filters.filters import MAX_DEPTH, MAX_VALUES, And, FieldComparison, Filter, In, Not, Or, encode
from retrieval.filters.rights import MAX_HELD, NOBODY, NUM_LABELS, Attributes, Rights, allowed
from tests.retrieval.hostile import HOSTILE, REFUSED

YEAR = FieldComparison("metadata.year", ">=", 2024)


def test_a_tree_is_written_as_it_is_built() -> None:
    tree = And((Or((FieldComparison("source", "==", 'a "b"\\\n'), In("position", (1, -2)))), Not(YEAR)))
    assert encode(tree) == (
        '((source == "a \\"b\\"\\\\\\n") or (position in [1, -2])) and '
        "(not ((exists m_number_year) and m_number_year >= 2024.0))"
    )
    assert encode(allowed(NOBODY)) == '(tenant in [""]) and (access_1 in [""])'


def test_no_value_ends_its_literal() -> None:
    """Between the outer quotes every quote and backslash is escaped, and no line ends."""
    for value in HOSTILE:
        text = encode(FieldComparison("tenant", "==", value)).removeprefix('tenant == "').removesuffix('"')
        rest = text.replace("\\\\", "").replace('\\"', "")
        assert '"' not in rest and not set(rest) & set("\r\n"), ascii(value)
        assert "\\" not in rest.replace("\\n", "").replace("\\r", "").replace("\\t", ""), ascii(value)


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_a_store_would_change_is_refused(value: Any) -> None:
    for make in (
        lambda: encode(FieldComparison("metadata.text", "==", value)),
        lambda: encode(In("metadata.text", (value,))),
        lambda: encode(FieldComparison("source", "==", value)),
        lambda: Attributes(metadata={"text": value}),
        lambda: Attributes(access=(value,)),
        lambda: Rights(value or ()),
    ):
        with pytest.raises(TandemError) as refused:
            make()
        assert len(str(refused.value)) < 500
        str(refused.value).encode("ascii")


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (FieldComparison("tenants", "==", "a"), "no field 'tenants'"),
        (FieldComparison("content", "==", "a"), "no field 'content'"),
        (FieldComparison('source == "" or source', "==", "a"), "no field"),
        (FieldComparison("metadata.Year", "==", 1), "no name of metadata"),
        (FieldComparison('metadata.a" or true', "==", 1), "no name of metadata"),
        (FieldComparison("metadata.", "==", 1), "no name of metadata"),
        (FieldComparison("position", "==", "1"), "where int is kept"),
        (FieldComparison("position", "==", True), "where int is kept"),
        (FieldComparison("source", "or true or source ==", "a"), "compares with one of"),  # type: ignore[arg-type]
        (FieldComparison("metadata.a", "<", True), "True and false are compared"),
        (In("source", ()), "at least one value"),
        (In("source", ["a"]), "at least one value"),  # type: ignore[arg-type]
        (In("metadata.a", (1, "a")), "all text, all numbers"),
        (And(()), "join at least one"),
        ("source == ''", "compares with one of"),
        (In("position", tuple(range(MAX_VALUES + 1))), f"{MAX_VALUES} values"),
        (In("source", tuple(f"{number:04}" * 1000 for number in range(100))), "262144 bytes"),
    ],
)
def test_what_is_no_filter_is_explained(tree: Filter, says: str) -> None:
    with pytest.raises(TandemError, match=says):
        encode(tree)


def test_depth_is_bounded() -> None:
    tree: Filter = YEAR
    for _ in range(MAX_DEPTH - 1):
        tree = Not(tree)
    encode(tree)
    for _ in range(100_000):
        tree = Not(tree)
    with pytest.raises(TandemError, match=f"{MAX_DEPTH} levels"):
        encode(tree)


def test_a_request_names_fields_by_key() -> None:
    value = {
        "type": "and",
        "filters": [
            {"type": "gte", "key": "year", "value": 2024},
            {"type": "not", "filter": {"type": "in", "key": "source", "value": ["a.md"]}},
            {"type": "ne", "key": "tenant", "value": "acme"},
        ],
    }
    assert parse_filter(value) == And(
        (YEAR, Not(In("source", ("a.md",))), FieldComparison("metadata.tenant", "!=", "acme"))
    )
    with pytest.raises(TandemError, match="no name of metadata"):
        encode(parse_filter({"type": "eq", "key": "metadata.tenant", "value": "a"}))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '"tenant"', "{}", '{"type": "like", "key": "a", "value": "b"}', '{"type": "eq", "key": "a"}',
     '{"type": "eq", "key": 1, "value": 1}', '{"type": "eq", "key": "a", "value": 1, "or": []}', '{"type": ["eq"]}',
     '{"type": "in", "key": "a", "value": "abc"}', '{"type": "and", "filters": {}}', '{"type": "not", "filter": null}',
     "[" * 100_000, '{"type": "not", "filter": ' * 200 + "1" + "}" * 200],
)  # fmt: skip
def test_what_is_no_request_is_explained(text: str) -> None:
    with pytest.raises(TandemError, match="The filter is malformed"):
        parse_filter_text(text)


def test_labels_are_counted() -> None:
    Attributes(access=tuple(map(str, range(NUM_LABELS))))
    full = Rights("acme", frozenset(f"label-{number}" for number in range(MAX_HELD)))
    encode(And((allowed(full), YEAR)))
    for make in (
        lambda: Attributes(access=tuple(map(str, range(NUM_LABELS + 1)))),
        lambda: Rights(labels=frozenset(map(str, range(MAX_HELD + 1)))),
        lambda: Rights(labels="hr"),  # type: ignore[arg-type]
        lambda: Rights(""),
        lambda: Attributes(access=("",)),
        lambda: Attributes("é" * 129),
        lambda: Attributes(metadata={f"name_{number}": "x" * 4096 for number in range(15)}),
    ):
        with pytest.raises(TandemError):
            make()


def test_what_a_document_carries_has_one_digest() -> None:
    assert Attributes("a", ("x", "y")).digest == Attributes("a", ("y", "x", "x")).digest
    different = [
        Attributes(), Attributes("a"), Attributes(access=("a",)), Attributes(access=("a", "b")), Attributes("b"),
        Attributes(metadata={"a": 1}), Attributes(metadata={"a": "1"}), Attributes(metadata={"a": True}),
    ]  # fmt: skip
    assert len({each.digest for each in different}) == len(different)
