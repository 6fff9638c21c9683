"""A YAML file as plain values that remember the line each came from, with `${ENV}` expanded."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import TandemError

Location = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class YamlFile:
    """The values of a YAML file, and the line (from 1) of each key by its path, as in ("retrieval", "top_k")."""

    path: Path
    values: dict[str, Any]
    lines: dict[Location, int]

    def line(self, location: Location) -> int:
        """The line of a key, or of the nearest section around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_yaml(path: Path, unset_as_written: bool = False) -> YamlFile:
    """Read a YAML file; with `unset_as_written` a variable that is not set here stays as `${NAME}`.

    Raises:
        TandemError: it is missing, is not UTF-8 or YAML, is not a mapping, repeats a key, or names an unset variable.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise TandemError(
            f"There is no project file {path}.",
            "A tandem.yaml, in this folder or named with -c.",
            "Write one with `tandem init`.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TandemError(f"{path} cannot be read ({error}).", "A text file in UTF-8.", "Check the path.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise TandemError(
            f"{where}: {problem}.", "A YAML file.", "Correct that line (often a tab or a colon)."
        ) from error
    if not isinstance(node, yaml.MappingNode):
        raise TandemError(
            f"{path} holds no settings.", "A mapping such as `model: ...`.", "Write one with `tandem init`."
        )
    lines: dict[Location, int] = {}
    values = _plain(node, (), lines, path, unset_as_written)
    assert isinstance(values, dict)
    return YamlFile(path, values, lines)


def _plain(node: yaml.Node, location: Location, lines: dict[Location, int], path: Path, unset_as_written: bool) -> Any:
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, path, unset_as_written)
            if key in mapping:
                line = key_node.start_mark.line + 1
                raise TandemError(
                    f"{path}:{line}: the key {key!r} stands here for the second time.",
                    "Each key once.",
                    "Remove one of the two.",
                )
            lines[(*location, key)] = key_node.start_mark.line + 1
            mapping[key] = _plain(value_node, (*location, key), lines, path, unset_as_written)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        items = enumerate(node.value)
        return [_plain(item, (*location, index), lines, path, unset_as_written) for index, item in items]
    return _scalar(node, path, unset_as_written)


def _scalar(node: yaml.Node, path: Path, unset_as_written: bool) -> Any:
    loader = yaml.SafeLoader("")
    value = loader.construct_object(node, deep=True)
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        if match[1] not in os.environ and unset_as_written:
            return match[0]
        if match[1] not in os.environ:
            raise TandemError(
                f"{path}:{node.start_mark.line + 1}: the environment variable {match[1]} is not set.",
                "A variable that is set, as ${NAME}.",
                f"Run `export {match[1]}=...`, or write the value.",
            )
        return os.environ[match[1]]

    return _VARIABLE.sub(expand, value)
