"""Filters as typed trees, and the one place where a value becomes text of Milvus' expression language.

    encode(And((Comparison("metadata.year", ">=", 2024), In("metadata.team", ("hr", "it")))))

Milvus takes a filter as a string, so a value pasted into one is an injection, and its templates (`filter_params`) are
not understood by every store. Here nothing is pasted: field names come from a fixed list or a strict pattern, and
values go through `_literal`, which writes only the six escapes that the parsers of Milvus Lite and of the server share.
What a parser would change instead of refusing is refused here (`unfit`), when it is indexed and when it is asked for.

A document's metadata are dynamic fields whose names carry the type of the value, so that text and numbers never meet:
a comparison with what a document does not have is false, and `not` is always the complement.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cluster.errors import TandemError

Scalar = str | int | float | bool
Operator = Literal["==", "!=", "<", "<=", ">", ">="]

NUM_LABELS = 8
"""Labels of one document: each has a column of its own, since Milvus Lite reads arrays row by row, vectors included."""

LABEL_COLUMNS = tuple(f"access_{number}" for number in range(1, NUM_LABELS + 1))
METADATA = "metadata."
COLUMNS: dict[str, type] = {
    "id": str, "source": str, "source_hash": str, "position": int, "tenant": str, **dict.fromkeys(LABEL_COLUMNS, str),
}  # fmt: skip
"""The fields of a row that are no metadata, with the type of their values."""

ADDED: dict[str, type] = {"identity": str}
"""Those that rows of earlier versions do not have."""

MAX_DEPTH = 12
MAX_VALUES = 1000
MAX_BYTES = 262_144
MAX_TEXT_BYTES = 4096
MAX_NUMBER = 2**53
"""The largest whole number that JSON and a double keep exactly; metadata are kept as both."""

METADATA_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
# Newer servers than 2.3.5 write a Han character as \uXXXX before they parse (convertHanToASCII, planparserv2),
# so one above U+FFFF becomes another character, and one tenant's name another's.
_MANGLED = re.compile("[\U00016fe2\U00016fe3\U00016ff0\U00016ff1\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class FieldComparison:
    """`field` is one of `COLUMNS`, or `metadata.` and a name."""

    field: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True)
class In:
    """The field has one of the values, which are all text, all numbers or all booleans."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class And:
    filters: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    filters: tuple["Filter", ...]


@dataclass(frozen=True)
class Not:
    filter: "Filter"


Filter = FieldComparison | In | And | Or | Not


def encode(tree: Filter, keeps_han: bool = False) -> str:
    """The expression that Milvus parses back to exactly this tree.

    Args:
        keeps_han: whether the store takes Han characters above U+FFFF for what they are, as Milvus Lite does.

    Raises:
        TandemError: an unknown field, a value of a type or form that cannot be compared, or a tree that is deeper,
            longer or has more values than the limits above.
    """
    if (num_values := _count_values(tree, MAX_DEPTH)) > MAX_VALUES:
        raise _too_large(f"{num_values} values", f"{MAX_VALUES} values")
    expression = _encoded(tree)
    if not keeps_han and (match := _MANGLED.search(expression)):
        raise TandemError(
            f"The filter holds U+{ord(match[0]):X}, which this Milvus server takes for another character.",
            "Milvus Lite compares every character; newer servers have none above U+FFFF of the Han script in a filter.",
            "Filter by something else, such as metadata.",
        )
    if (length := len(expression.encode())) > MAX_BYTES:
        raise _too_large(f"{length} bytes", f"{MAX_BYTES} bytes")
    return expression


def unfit(value: object, keeps_han: bool = False) -> str | None:
    """Why a value cannot be kept and compared exactly by every store, or by one that `keeps_han`; None where it can."""
    if isinstance(value, str):
        return _unfit_text(value, keeps_han)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return "is beyond 2^53" if abs(value) > MAX_NUMBER else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is no finite number"
    return f"is a {type(value).__name__}, where text, a number, true or false is taken"


def metadata_field(name: str, value: Scalar) -> tuple[str, Scalar]:
    """The dynamic field that keeps a document's metadata `name`, and its value there.

    Raises:
        TandemError: the name or the value cannot be kept.
    """
    if not METADATA_NAME.fullmatch(name):
        raise TandemError(
            f"{shown(name)} is no name of metadata.",
            "A name has 1 to 63 of the characters a-z, 0-9 and _, and begins with a letter.",
            "Rename it.",
        )
    if (reason := unfit(value)) is not None:
        raise _refused(METADATA + name, value, reason)
    if isinstance(value, str):
        return f"m_text_{name}", value
    return (f"m_flag_{name}", value) if isinstance(value, bool) else (f"m_number_{name}", float(value))


def _unfit_text(text: str, keeps_han: bool) -> str | None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
    if length > MAX_TEXT_BYTES:
        return f"has {length} bytes of UTF-8, more than {MAX_TEXT_BYTES}"
    if "\0" in text:
        return "holds a NUL character"
    if not keeps_han and (match := _MANGLED.search(text)):
        return f"holds U+{ord(match[0]):X}, which newer Milvus servers take for another character"
    return None


def _count_values(tree: Filter, depth: int) -> int:
    """The number of values in a tree. Raises where it is deeper than `depth`, or is no tree of filters."""
    if depth == 0:
        raise _too_large(f"more than {MAX_DEPTH} levels", f"{MAX_DEPTH} levels")
    if isinstance(tree, And | Or):
        if not tree.filters:
            raise _malformed("`and` and `or` join at least one filter")
        return sum(_count_values(inner, depth - 1) for inner in tree.filters)
    if isinstance(tree, Not):
        return _count_values(tree.filter, depth - 1)
    if isinstance(tree, In):
        if not isinstance(tree.values, tuple) or not tree.values:
            raise _malformed("`in` takes a list of at least one value")
        return len(tree.values)
    if not isinstance(tree, FieldComparison) or tree.operator not in _OPERATORS:
        raise _malformed(f"a filter compares with one of {' '.join(_OPERATORS)}, or is `in`, `and`, `or` or `not`")
    return 1


def _encoded(tree: Filter) -> str:
    if isinstance(tree, And | Or):
        word = " and " if isinstance(tree, And) else " or "
        return word.join(f"({_encoded(inner)})" for inner in tree.filters)
    if isinstance(tree, Not):
        return f"not ({_encoded(tree.filter)})"
    if isinstance(tree, In):
        column, values = _column(tree.field, tree.values)
        return _present(column, f"{column} in [{', '.join(map(_literal, values))}]")
    if tree.operator == "!=" and tree.field not in COLUMNS:
        return f"not ({_encoded(FieldComparison(tree.field, '==', tree.value))})"
    column, (value,) = _column(tree.field, (tree.value,))
    if isinstance(value, bool) and tree.operator != "==":
        raise _malformed("true and false are compared with == and !=")
    return _present(column, f"{column} {tree.operator} {_literal(value)}")


def _column(field: str, values: Iterable[Scalar]) -> tuple[str, list[Scalar]]:
    """The field as Milvus knows it, and the values as they are kept there, each of the field's type."""
    if isinstance(field, str) and field.startswith(METADATA):
        kept = [metadata_field(field.removeprefix(METADATA), value) for value in values]
        if len(columns := {column for column, _ in kept}) > 1:
            raise _malformed("the values of `in` are all text, all numbers or all booleans")
        return columns.pop(), [value for _, value in kept]
    kind = (COLUMNS | ADDED).get(field)
    if kind is None:
        raise TandemError(
            f"There is no field {shown(field)}.",
            f"Fields are source, position, and {METADATA}NAME for metadata.",
            "Correct the name.",
        )
    checked = list(values)
    for value in checked:
        if type(value) is not kind:
            raise _refused(field, value, f"is a {type(value).__name__}, where {kind.__name__} is kept")
        if (reason := unfit(value, keeps_han=True)) is not None:
            raise _refused(field, value, reason)
    return field, checked


def _present(column: str, expression: str) -> str:
    """Stores differ in what they make of a field that a row does not have: here it is always false."""
    return expression if column in COLUMNS else f"(exists {column}) and {expression}"


def _literal(value: Scalar) -> str:
    """The text that every parser reads back as this value, which `unfit` has let pass."""
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _refused(field: str, value: object, reason: str) -> TandemError:
    return TandemError(
        f"{field}: the value {shown(value)} {reason}.",
        f"Text of up to {MAX_TEXT_BYTES} bytes, finite numbers up to 2^53, true and false.",
        "Use another value.",
    )


def _malformed(accepted: str) -> TandemError:
    return TandemError("The filter is malformed.", f"{accepted[0].upper()}{accepted[1:]}.", "Correct the filter.")


def _too_large(seen: str, most: str) -> TandemError:
    return TandemError(f"The filter has {seen}.", f"It may have {most}.", "Ask for less at a time.")


def shown(value: object) -> str:
    """A value as part of a message: escaped, and not longer than a line."""
    if isinstance(value, str):
        return ascii(value if len(value) <= 60 else f"{value[:57]}...")
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return f"with {value.bit_length()} bits"
    return repr(value) if isinstance(value, int | float) else f"({type(value).__name__})"
