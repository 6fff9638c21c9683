"""What a live search engine is asked, as JSON, and which of its documents the caller may see.

Rights and filters are sent along so that the engine finds enough that is allowed, and checked again on what it
returns: an engine whose field is split into words (`text` instead of `keyword`) takes `acme` for `acme corp`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cluster.errors import TandemError
from retrieval.config import LiveConfig
from retrieval.filters.filters import METADATA, And, FieldComparison, Filter, In, Not, Or, Scalar, encode
from retrieval.filters.rights import Rights

# Engines refuse a question of more than 1,024 clauses.
MAX_WORDS = 200
PASSAGE_CHARACTERS = 1000

Json = dict[str, Any]
_RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


class NotTranslatable(TandemError):
    """A filter names what the engine's documents do not have."""


def request_body(config: LiveConfig, question: str, rights: Rights, where: Filter | None) -> Json:
    """The body of `POST /{index}/_search`.

    Raises:
        NotTranslatable: the filter names a field that is not configured.
        TandemError: the filter is malformed or too large.
    """
    searched = [config.text_field] if config.title_field is None else [config.text_field, config.title_field]
    words = " ".join(question.split()[:MAX_WORDS])
    filters = _allowed(config, rights)
    if where is not None:
        encode(where, keeps_han=True)
        filters.append(_translated(config, where))
    highlight = {
        "fragment_size": PASSAGE_CHARACTERS, "number_of_fragments": 1, "no_match_size": PASSAGE_CHARACTERS,
        "pre_tags": [""], "post_tags": [""],
    }  # fmt: skip
    return {
        "size": config.candidates,
        "track_total_hits": False,
        "timeout": f"{int(config.timeout_s * 1000)}ms",
        "_source": _fields(config),
        "query": {"bool": {"must": [{"multi_match": {"query": words, "fields": searched}}], "filter": filters}},
        "highlight": {"fields": {config.text_field: highlight}},
    }


def visible(config: LiveConfig, document: Mapping[str, Any], rights: Rights, where: Filter | None) -> bool:
    """Whether the caller may see a document and the filter lets it through, by its own fields."""
    if config.tenant_field is not None:
        tenants = _values(document, config.tenant_field)
        if tenants and rights.tenant not in tenants:
            return False
    if config.access_field is not None:
        labels = _values(document, config.access_field)
        if labels and not rights.labels & {each for each in labels if isinstance(each, str)}:
            return False
    return where is None or _matches(config, document, where)


def field_value(document: Mapping[str, Any], name: str) -> Any:
    """A field by its name, in which dots lead into objects; None where there is none."""
    if name in document:
        return document[name]
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _fields(config: LiveConfig) -> list[str]:
    named = (config.text_field, config.title_field, config.source_field, config.tenant_field, config.access_field)
    return list(dict.fromkeys([*(each for each in named if each), *config.metadata_fields.values()]))


def _allowed(config: LiveConfig, rights: Rights) -> list[Json]:
    filters = []
    if config.tenant_field is not None:
        filters.append(_absent_or(config.tenant_field, [rights.tenant] if rights.tenant else []))
    if config.access_field is not None:
        filters.append(_absent_or(config.access_field, sorted(rights.labels)))
    return filters


def _absent_or(field: str, values: list[str]) -> Json:
    absent = {"bool": {"must_not": [{"exists": {"field": field}}]}}
    return _any([absent, {"terms": {field: ["", *values]}}])


def _translated(config: LiveConfig, tree: Filter) -> Json:
    if isinstance(tree, And):
        return {"bool": {"filter": [_translated(config, inner) for inner in tree.filters]}}
    if isinstance(tree, Or):
        return _any([_translated(config, inner) for inner in tree.filters])
    if isinstance(tree, Not):
        return _none_of(_translated(config, tree.filter))
    field = _engine_field(config, tree.field)
    if isinstance(tree, In):
        return {"terms": {field: list(tree.values)}}
    if tree.operator == "==":
        return {"term": {field: {"value": tree.value}}}
    if tree.operator == "!=":
        return _none_of({"term": {field: {"value": tree.value}}})
    return {"range": {field: {_RANGES[tree.operator]: tree.value}}}


def _any(filters: list[Json]) -> Json:
    return {"bool": {"should": filters, "minimum_should_match": 1}}


def _none_of(filter: Json) -> Json:
    return {"bool": {"must_not": [filter]}}


def _engine_field(config: LiveConfig, field: str) -> str:
    if field == "source" and config.source_field is not None:
        return config.source_field
    name = field.removeprefix(METADATA)
    if not field.startswith(METADATA) or name not in config.metadata_fields:
        raise NotTranslatable(
            f"The filter names {name}, which the live engine's documents do not have.",
            f"It knows: {', '.join(sorted(config.metadata_fields)) or 'nothing'}.",
            "Name the engine's field for it under retrieval.live.metadata_fields.",
        )
    return config.metadata_fields[name]


def _matches(config: LiveConfig, document: Mapping[str, Any], tree: Filter) -> bool:
    if isinstance(tree, And):
        return all(_matches(config, document, inner) for inner in tree.filters)
    if isinstance(tree, Or):
        return any(_matches(config, document, inner) for inner in tree.filters)
    if isinstance(tree, Not):
        return not _matches(config, document, tree.filter)
    values = _values(document, _engine_field(config, tree.field))
    if isinstance(tree, In):
        return any(_equal(value, accepted) for value in values for accepted in tree.values)
    return _compared(values, tree)


def _compared(values: list[Any], tree: FieldComparison) -> bool:
    """As in the index: text and numbers never meet, and what a document lacks is different from everything."""
    if tree.operator in ("==", "!="):
        return any(_equal(value, tree.value) for value in values) == (tree.operator == "==")
    compare = _COMPARES[tree.operator]
    return any(_kind(value) == _kind(tree.value) and compare(value, tree.value) for value in values)


def _equal(value: Any, accepted: Scalar) -> bool:
    return _kind(value) == _kind(accepted) and bool(value == accepted)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "other"


def _values(document: Mapping[str, Any], field: str) -> list[Any]:
    """The values of a field, of which a document may have none, one, or several."""
    value = field_value(document, field)
    return [each for each in (value if isinstance(value, list) else [value]) if each is not None and each != ""]
