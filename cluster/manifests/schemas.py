"""Custom resources held strictly against their definitions' schemas, without a cluster.

The folder has a file for each kind: {"group", "kind", "versions": {name: OpenAPI v3 schema}}; docs/kubernetes.md has
the command that writes them from a cluster. An unknown field is an error, as for `kubectl apply --validate=strict`.
Rules in CEL are not evaluated.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.manifests.bundle import Bundle, ManifestFinding, Values

_KEPT = ("description", "title", "format", "nullable", "default", "example", "externalDocs")


def load_schemas(folder: Path) -> dict[tuple[str, str], Values]:
    """JSON schemas by (apiVersion, kind).

    Raises:
        TandemError: the folder is missing, or a file in it is no such schema.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise TandemError(
            f"There are no schemas in {folder}.",
            "A folder with a JSON file for each custom resource.",
            "Write them with the command in docs/kubernetes.md, or leave TANDEM_CRDS unset.",
        )
    loaded = {}
    for file in files:
        try:
            read = json.loads(file.read_text())
            for version, schema in read["versions"].items():
                loaded[f"{read['group']}/{version}", read["kind"]] = _closed(schema, is_object=True)
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise TandemError(
                f"{file} is no schema ({type(error).__name__}: {error}).",
                'JSON with "group", "kind" and "versions".',
                "Write it again with the command in docs/kubernetes.md.",
            ) from error
    return loaded


def check_schemas(bundle: Bundle, folder: Path) -> Iterator[ManifestFinding]:
    """Raises TandemError as `schemas` does."""
    from jsonschema import Draft7Validator

    known = load_schemas(folder)
    groups = {api.partition("/")[0] for api, _ in known}
    for manifest in bundle.manifests:
        api = str(manifest.values.get("apiVersion", ""))
        schema = known.get((api, manifest.kind))
        if schema:
            for error in Draft7Validator(schema).iter_errors(manifest.values):
                where = ".".join(map(str, error.absolute_path)) or "it"
                yield ManifestFinding("schema", str(manifest), f"{where}: {error.message[:200]}")
        elif api.partition("/")[0] in groups:
            yield ManifestFinding("schema", str(manifest), f"{api} has no such kind, or that version is not served.")


def _closed(schema: Values, is_object: bool = False) -> Values:
    """The same schema as a server reads it: nothing unknown, defaults filled in, numbers that may be texts."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed: Values = {
        key: value for key, value in schema.items() if key not in _KEPT and not key.startswith("x-kubernetes-")
    }
    for key in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(key), dict):
            closed[key] = _closed(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            closed[key] = [_closed(one) for one in schema[key]]
    if "properties" in schema:
        closed |= _fields(schema, is_object)
    if schema.get("nullable") and isinstance(closed.get("type"), str):
        closed["type"] = [closed["type"], "null"]
    return closed


def _fields(schema: Values, is_object: bool) -> Values:
    fields: dict[str, Any] = {name: _closed(one) for name, one in schema["properties"].items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if is_object:
        fields |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    given = [name for name in schema.get("required", []) if "default" not in schema["properties"].get(name, {})]
    closed: Values = {"properties": fields, "required": given}
    if not open_ended and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed
