"""JSON values in a text, and whether a schema accepts them.

Equal is what JSON Schema calls equal: 1 is 1.0, true is not 1, the order of keys does not count.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing import Registry


TRAILING_MARKS = re.compile(r"(?:\s*\[\d+(?:\s*,\s*\d+)*\])*\s*")
MISSING = object()
# One value of each type: a schema that refers to nothing, or to itself, shows it on one of them.
PROBES: tuple[Any, ...] = (None, True, 0, "", [], {})


def parse_json(text: str) -> Any:
    """The JSON value of a text, which citation marks may follow; MISSING where it is none, as NaN and Infinity are."""
    text = text.strip()
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text)
    except (ValueError, RecursionError):
        return MISSING
    return value if TRAILING_MARKS.fullmatch(text, end) else MISSING


def check_schema(schema: dict[str, Any]) -> None:
    """Raises a ValueError where a schema cannot be used: not valid, or not complete in itself."""
    _check_schema(json.dumps(schema))


@lru_cache(maxsize=4_096)
def _check_schema(text: str) -> None:
    """Cached, as many questions have the same schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable

    schema = json.loads(text)
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
        for value in PROBES:
            _validator(text).is_valid(value)
        _look_up(schema, list(_references(schema)))
    except SchemaError as error:
        raise ValueError(f"json_schema is not a JSON schema: {error.message}") from error
    except Unresolvable as error:
        raise ValueError(f"json_schema refers to {error.ref!r}, which is not in it; nothing is fetched") from error
    except RecursionError as error:
        raise ValueError("json_schema refers to itself without an end") from error


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
    """Whether a schema accepts a value. MISSING is not accepted, nor is what is nested too deep to be checked."""
    if value is MISSING:
        return False
    try:
        return bool(_validator(json.dumps(schema)).is_valid(value))
    except RecursionError:
        return False


@lru_cache(maxsize=4_096)
def _validator(schema: str) -> "Validator":
    from jsonschema.validators import Draft202012Validator, validator_for

    loaded = json.loads(schema)
    return validator_for(loaded, default=Draft202012Validator)(loaded, registry=_registry())


def _registry() -> "Registry[Any]":
    """Of schemas that may be referred to: none. The default one would fetch them from the network."""
    from referencing import Registry

    return Registry()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
