"""The names of vLLM's own arguments, read from its source: importing it takes ten seconds."""

import ast
import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cluster.errors import TandemError

_SOURCES = {
    "engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
    "entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
}


def check_names(names: Iterable[str]) -> None:
    """Raises TandemError for a name that the installed vLLM does not know; says nothing where none is installed."""
    known = known_arguments()
    for name in names:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, 3)
            raise TandemError(
                f"serving.engine_kwargs sets {name}, which vLLM does not know.",
                f"vLLM's engine arguments{', such as ' + ', '.join(close) if close else ''}.",
                "Correct the name, or remove it.",
            )


@cache
def known_arguments() -> frozenset[str]:
    """Names of engine and front end arguments; empty where vLLM is not installed."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    root = Path(spec.origin).parent
    return frozenset(name for path, classes in _SOURCES.items() for name in _fields(root / path, classes))


def _fields(path: Path, classes: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id
