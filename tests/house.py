"""The house as the code has it: rooms, arrows, circles, and imports inside functions.

    python -m tests.house            # rooms and arrows as they are

A package is a folder of the top level; its rooms are its folders and files. An arrow is an import anywhere in a file:
at its top, under TYPE_CHECKING or inside a function.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "tandem": "the front door: the command, the project file, the pipeline",
    "evaluation": "the arms on the same questions, and the verdict",
    "serving": "one endpoint: vLLM under Ray Serve",
    "retrieval": "documents to an index, a question to passages",
    "training": "rows to a published adapter",
    "cluster": "where work runs and what lies on disk",
}
MAX_FILES = 15
"""Files side by side in a folder of a package, `__init__.py` included."""

# Which rooms of a package may import which of its other rooms: the complete list.
ROOMS: dict[str, dict[str, str]] = {
    "cluster": {
        "errors": "",
        "health": "",
        "config": "",
        "full_disk": "errors",
        "interrupts": "",
        "session": "config errors full_disk interrupts",
        "fingerprints": "errors",
        "jobs": "errors hardware",
        "manifests": "errors",
        "template_arguments": "",
        "node_answers": "errors",
        "nvidia_smi": "errors",
        "autoscaler": "errors node_answers",
        "hardware": "autoscaler errors fingerprints node_answers nvidia_smi",
        "gpu_requirements": "errors hardware",
        "cuda_compiler": "",
        "compile_cache": "fingerprints hardware",
        "storage": "config errors fingerprints",
        "registry": "config errors fingerprints storage",
        "preflight": "cuda_compiler errors fingerprints gpu_requirements hardware storage",
    },
    "training": {
        "config": "",
        "data": "config",
        "plan": "config model",
        "model": "config data",
        "publish": "config data model",
        "trainer": "config data model plan publish",
        "tune": "config trainer",
        "run": "config data model plan publish trainer tune",
    },
    "retrieval": {
        "errors": "",
        "prompt": "",
        "mcp_server": "",
        "analysis": "",
        "filters": "",
        "sources": "filters",
        "config": "analysis sources",
        "embedding": "analysis config errors prompt",
        "store": "config errors filters",
        "index": "analysis config embedding errors filters sources store",
        "search": "analysis config embedding errors filters prompt store",
        "quality": "config errors filters index search store",
    },
    "serving": {
        "config": "",
        "client": "",
        "api": "",
        "capacity": "",
        "access": "api",
        "engine": "api config",
        "retriever": "engine",
        "gateway": "access api config engine retriever",
        "deploy": "access config engine gateway retriever",
        "parity_replay": "client",
    },
    "evaluation": {
        "config": "",
        "arms": "config",
        "questions": "",
        "replies": "",
        "results": "config questions replies",
        "engine_time": "",
        "grading": "config questions replies results",
        "asking": "arms config engine_time grading questions replies results",
        "verdicts": "arms config grading questions replies results",
        "drafts": "asking config grading questions replies verdicts",
        "exports": "grading questions replies",
        "reporting": "arms config questions replies results verdicts",
        "measure": "arms asking config drafts grading questions replies reporting results verdicts",
        "measure_again": "arms asking config measure questions replies results verdicts",
    },
    "tandem": {
        "console": "",
        "project": "console",
        "deployment": "project",
        "pipeline": "console project",
        "submit": "console project",
        "compare": "console pipeline project",
        "commands": "compare console deployment pipeline project submit",
        "cli": "console",
        "__main__": "cli",
    },
}


@dataclass(frozen=True)
class Import:
    """A first-party import: who imports, the imported file, the line, and whether it is inside a function."""

    path: Path
    target: Path
    line: int
    is_deferred: bool


def files(folder: Path) -> list[Path]:
    """The Python files below a folder."""
    return sorted(folder.rglob("*.py"))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of one of our files by another, wherever it is in the file."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        for module in modules(node):
            target = _file_of(module)
            if target and target != path:
                yield Import(path, target, node.lineno, id(node) in inside)  # type: ignore[attr-defined]


def modules(node: ast.AST) -> list[str]:
    """The dotted names that an import statement names, a module's attributes included."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _file_of(module: str) -> Path | None:
    """The file of the longest beginning of a dotted name that is a module of ours."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def room(path: Path) -> str:
    """The room of a package that a file is, or is in."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def arrows(name: str) -> dict[str, set[str]]:
    """The rooms of a package, each with those that it imports."""
    drawn: dict[str, set[str]] = {room(path): set() for path in files(ROOT / name) if path.name != "__init__.py"}
    for path in files(ROOT / name):
        for each in imports(path):
            if package(each.target) == name and room(each.target) != room(path):
                drawn.setdefault(room(path), set()).add(room(each.target))
    drawn.pop("__init__", None)
    return drawn


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle in a graph, as the names along it; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def file_graph(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Files with the files that they import, as paths relative to the repository."""
    return {_name(path): {_name(each.target) for each in imports(path)} for path in paths}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def main() -> None:
    for name in PACKAGES:
        print(name)
        for source, targets in arrows(name).items():
            print(f"    {source} -> {' '.join(sorted(targets))}")


if __name__ == "__main__":
    main()
