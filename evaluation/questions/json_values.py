"""JSON values in a text, and whether a schema accepts them.

Equal is what JSON Schema calls equal: 1 is 1.0, true is not 1, the order of keys does not count. A text that gives one
key of an object twice is no JSON value: readers differ in which of the two they take.

A schema may refer to itself through the properties or the items of a value, which are finite. One that comes back to
itself for the same value (`{"not": {"$ref": "#"}}`) has no meaning and is refused before it is tried: the library would
go round until its stack ends, which its compiled part does not survive. Values of more than 40 levels are not accepted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from evaluation.questions.patterns import check_pattern, is_found

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing import Registry


TRAILING_MARKS = re.compile(r"(?:\s*\[\d+(?:\s*,\s*\d+)*\])*\s*")
MISSING = object()
MAX_DEPTH = 40
MAX_CHAIN = 40
TOO_DEEP = f"json_schema is nested deeper than {MAX_DEPTH} levels"
CIRCLE = "json_schema refers to itself without an end; let it do so within `properties` or `items` only"
# One value of each type: a schema that refers to nothing, or to itself, shows it on one of them.
PROBES: tuple[Any, ...] = (None, True, 0, "", [], {})


def parse_json(text: str) -> Any:
    """The JSON value of a text, which citation marks may follow; MISSING where it is none, as NaN and Infinity are."""
    text = text.strip()
    try:
        value, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return MISSING
    return value if TRAILING_MARKS.fullmatch(text, end) else MISSING


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises a ValueError where a key is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=unique_keys)


def check_schema(schema: dict[str, Any]) -> None:
    """Raises a ValueError where a schema cannot be used: not valid, or not complete in itself."""
    try:
        text = json.dumps(schema)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    _check_schema(text)


@lru_cache(maxsize=4_096)
def _check_schema(text: str) -> None:
    """Cached, as many questions have the same schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable

    schema = json.loads(text)
    if _depth(schema) > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
        _check_patterns(schema)
        _look_up(schema, list(_references(schema)))
        _refuse_circles(schema)
        for value in PROBES:
            _validator(text).is_valid(value)
    except SchemaError as error:
        raise ValueError(f"json_schema is not a JSON schema: {error.message}") from error
    except Unresolvable as error:
        raise ValueError(f"json_schema refers to {error.ref!r}, which is not in it; nothing is fetched") from error
    except RecursionError as error:
        raise ValueError(CIRCLE) from error


def _check_patterns(schema: Any) -> None:
    """Raises a ValueError for a pattern that is none, that is slow, or whose time nothing bounds."""
    keys = {key for part in _parts(schema) for key in part}
    if {"patternProperties", "unevaluatedProperties"} <= keys:
        raise ValueError(
            "json_schema has patternProperties beside unevaluatedProperties, which nothing bounds in time; "
            "use additionalProperties"
        )
    for part in _parts(schema):
        patterns = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(patterns if isinstance(patterns, dict) else ())):
            if isinstance(pattern, str):
                try:
                    check_pattern(pattern)
                except ValueError as error:
                    raise ValueError(f"json_schema: {error}") from error


def _refuse_circles(schema: Any) -> None:
    """Raises a ValueError where a part of the schema comes back to itself for the same value."""
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = specification_with(schema.get("$schema", ""), default=DRAFT202012) if isinstance(schema, dict) else None
    resolver = _registry().resolver_with_root((dialect or DRAFT202012).create_resource(schema))
    done: set[int] = set()

    def visit(part: Any, above: tuple[int, ...]) -> None:
        if id(part) in above or len(above) > MAX_CHAIN:
            raise ValueError(CIRCLE)
        if not isinstance(part, dict) or id(part) in done:
            return
        for inner in _of_the_same_value(part):
            visit(inner, (*above, id(part)))
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(part.get(key), str):
                visit(resolver.lookup(part[key]).contents, (*above, id(part)))
        done.add(id(part))

    for part in _parts(schema):
        visit(part, ())


def _of_the_same_value(part: dict[str, Any]) -> Iterator[Any]:
    """The schemas within one that are applied to the value that it is applied to."""
    for key in ("not", "if", "then", "else"):
        if key in part:
            yield part[key]
    for key in ("allOf", "anyOf", "oneOf"):
        yield from part[key] if isinstance(part.get(key), list) else ()
    for key in ("dependentSchemas", "dependencies"):
        yield from part[key].values() if isinstance(part.get(key), dict) else ()


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object within a schema, itself included."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _parts(inner)


def _depth(value: Any, above: int = 1) -> int:
    """How many levels of lists and objects a value has; it is not looked deeper than one level more than accepted."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return above if above > MAX_DEPTH else max((_depth(one, above + 1) for one in inner), default=above)


def _look_up(schema: dict[str, Any], references: list[str]) -> None:
    """Raises Unresolvable where one of the references leads out of the schema or nowhere."""
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    resolver = _registry().resolver_with_root(dialect.create_resource(schema))
    for reference in references:
        resolver.lookup(reference)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def schema_accepts(schema: dict[str, Any], value: Any) -> bool:
    """Whether a schema accepts a value. MISSING is not accepted, nor is what is nested too deep to be checked.

    Raises:
        PatternTooSlow: a pattern of the schema takes too long on a text of the value.
    """
    if value is MISSING or _depth(value) > MAX_DEPTH:
        return False
    try:
        return bool(_validator(json.dumps(schema)).is_valid(value))
    except RecursionError:
        return False
    except BaseException as error:
        # What the compiled part of the library raises where the stack ends is no Exception.
        if type(error).__module__ == "pyo3_runtime":
            return False
        raise


@lru_cache(maxsize=4_096)
def _validator(schema: str) -> "Validator":
    from jsonschema.validators import Draft202012Validator, extend, validator_for

    loaded = json.loads(schema)
    kind = validator_for(loaded, default=Draft202012Validator)
    bounded = {"pattern": _pattern, "patternProperties": _pattern_properties}
    if "additionalProperties" in kind.VALIDATORS:
        bounded["additionalProperties"] = _additional_properties
    return extend(kind, bounded)(loaded, registry=_registry())


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    """The library's own three rules with patterns, with a time limit."""
    from jsonschema.exceptions import ValidationError

    if validator.is_type(value, "string") and not is_found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, part in patterns.items():
            for key in value:
                if is_found(pattern, key):
                    yield from validator.descend(value[key], part, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(value, "object"):
        return
    patterns = schema.get("patternProperties", {})
    for key in value:
        if key in schema.get("properties", {}) or any(is_found(pattern, key) for pattern in patterns):
            continue
        if validator.is_type(allowed, "object"):
            yield from validator.descend(value[key], allowed, path=key)
        elif not allowed:
            yield ValidationError(f"{key!r} is not allowed")


def _registry() -> "Registry[Any]":
    """Of schemas that may be referred to: none. The default one would fetch them from the network."""
    from referencing import Registry

    return Registry()
