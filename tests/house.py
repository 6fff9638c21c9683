"""The house as the code has it: rooms, arrows, circles, and imports inside functions.

    python -m tests.house            # rooms and arrows as they are
    python -m tests.house --write    # writes the generated parts of docs/architecture.md again

A package is a folder of the top level; its rooms are its folders and files. An arrow is an import anywhere in a file:
at its top, under TYPE_CHECKING or inside a function.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "architecture.md"
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
        "session": "config errors",
        "fingerprints": "errors",
        "jobs": "errors",
        "manifests": "errors",
        "storage": "config errors fingerprints",
        "registry": "config errors fingerprints storage",
        "preflight": "errors fingerprints storage",
    },
    "training": {
        "config": "",
        "data": "config",
        "plan": "config",
        "model": "config data",
        "publish": "config data model",
        "trainer": "config data model plan publish",
        "tune": "config trainer",
        "run": "config data model plan publish trainer tune",
    },
    "retrieval": {
        "errors": "",
        "prompt": "",
        "filters": "",
        "sources": "filters",
        "config": "sources",
        "embedding": "config errors prompt",
        "store": "config errors filters",
        "index": "config embedding filters sources store",
        "search": "config embedding errors filters prompt store",
        "quality": "config errors filters index search store",
    },
    "serving": {
        "config": "",
        "client": "",
        "api": "",
        "capacity": "",
        "access": "api",
        "engine": "api config",
        "retriever": "",
        "gateway": "access api config engine retriever",
        "deploy": "access config engine gateway retriever",
        "parity_replay": "client",
    },
    "evaluation": {
        "config": "",
        "arms": "config",
        "questions": "",
        "results": "config questions",
        "grading": "config questions results",
        "asking": "arms config grading questions results",
        "verdicts": "arms config grading questions results",
        "drafts": "questions verdicts",
        "reporting": "arms config questions results verdicts",
        "measure": "arms asking config drafts grading questions reporting results verdicts",
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


# Three ways through the house: the files and functions that each passes, in order. A stop that no earlier stop imports
# says how it is reached.
WAYS: dict[str, list[tuple[str, str, str]]] = {
    "A question over HTTP": [
        ("serving/gateway/routes.py", "AdmissionMiddleware", ""),
        ("serving/gateway/gateway.py", "Gateway.answer", ""),
        ("serving/api/requests.py", "parse_request", ""),
        ("serving/access/admission.py", "Admission.admit", ""),
        ("serving/gateway/generation.py", "Generation.answer", ""),
        ("serving/gateway/served_models.py", "ServedModels.adapter", ""),
        ("serving/retriever.py", "Retriever.search", "a call through Ray Serve"),
        ("retrieval/search/search.py", "Searcher.search", ""),
        ("retrieval/prompt.py", "render", ""),
        ("serving/engine/engine.py", "Engine.stream", "a call through Ray Serve"),
        ("serving/gateway/stream.py", "relay_stream", ""),
    ],
    "A row through training": [
        ("tandem/commands/train/train.py", "train", ""),
        ("tandem/pipeline/training.py", "check_training", ""),
        ("training/data/rows.py", "check_rows", ""),
        ("training/run.py", "prepare_run", ""),
        ("training/plan/zero_stage.py", "choose_zero_stage", ""),
        ("training/data/tokenize.py", "encode_rows", ""),
        ("training/data/packing.py", "plan_epoch", ""),
        ("training/trainer/fit.py", "run_job", ""),
        ("training/trainer/worker.py", "run_worker", "started by Ray Train on each worker"),
        ("training/trainer/loop.py", "TrainingLoop.train", ""),
        ("training/trainer/checkpointer.py", "Checkpointer.save", ""),
        ("training/publish/weights.py", "save_adapter", ""),
        ("training/publish/publish.py", "publish_version", ""),
        ("cluster/registry/registry.py", "Registry.publish", ""),
        ("tandem/pipeline/parity_check.py", "ensure_parity", ""),
        ("serving/parity_replay.py", "replay_parity", ""),
    ],
    "A question through compare": [
        ("tandem/commands/compare.py", "compare_command", ""),
        ("tandem/compare/compare.py", "compare", ""),
        ("tandem/compare/check.py", "check_data", ""),
        ("evaluation/questions/files.py", "load_questions", ""),
        ("evaluation/questions/leaks.py", "raise_for_leaks", ""),
        ("tandem/compare/steps.py", "Comparison.measure", ""),
        ("evaluation/measure.py", "measure", ""),
        ("evaluation/asking/ask.py", "ask_all", ""),
        ("evaluation/asking/transport.py", "EndpointClient.complete", ""),
        ("serving/gateway/routes.py", "AdmissionMiddleware", "HTTP, as any other client"),
        ("evaluation/grading/grading.py", "grade_reply", ""),
        ("evaluation/verdicts/summary.py", "make_differences", ""),
        ("evaluation/verdicts/verdict.py", "recommend", ""),
        ("evaluation/reporting/report.py", "write_reports", ""),
    ],
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


def picture() -> str:
    """The packages with their rooms, and the arrows between packages, as a diagram."""
    lines = ["flowchart TD"]
    for name, text in PACKAGES.items():
        lines.append(f'    subgraph {name}["<b>{name}</b>: {text}"]')
        lines.append(f'        {name}_rooms["{" · ".join(_in_order(arrows(name)))}"]')
        lines.append("    end")
    drawn = {(package(path), package(each.target)) for path in _ours() for each in imports(path)}
    order = list(PACKAGES)
    lines += [
        f"    {source} --> {target}"
        for source, target in sorted(drawn, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
        if source != target
    ]
    return "\n".join(["```mermaid", *lines, "```"])


def _in_order(graph: dict[str, set[str]]) -> list[str]:
    """The rooms of a package: those that import others first, those that import none last."""
    sorter = TopologicalSorter({name: sorted(graph[name]) for name in sorted(graph)})
    return list(sorter.static_order())[::-1]


def ways() -> str:
    """The three ways, each as a diagram."""
    return "\n\n".join(f"### {name}\n\n{_way(stops)}" for name, stops in WAYS.items())


def _way(stops: list[tuple[str, str, str]]) -> str:
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    s{number}["<b>{function}</b><br/>{file}"]' for number, (file, function, _) in enumerate(stops)]
    for number, (_, _, reached_by) in enumerate(stops[1:]):
        lines.append(f"    s{number} -->{f'|{reached_by}|' if reached_by else ''} s{number + 1}")
    return "\n".join([*lines, "```"])


def missing_stops(stops: list[tuple[str, str, str]]) -> list[str]:
    """What of a way the code does not have: a function, or an import that leads from an earlier stop to it."""
    missing = [f"{file}: {function}" for file, function, _ in stops if function not in _definitions(ROOT / file)]
    seen: set[Path] = set()
    for file, function, reached_by in stops:
        path = ROOT / file
        if (
            seen
            and not reached_by
            and path not in {each.target for before in _reached(seen) for each in imports(before)}
        ):
            missing.append(f"no import leads to {file}: {function}")
        seen.add(path)
    return missing


def _reached(paths: set[Path]) -> set[Path]:
    """The stops, and the files of our packages that they import themselves."""
    return paths | {each.target for path in paths for each in imports(path)}


def _definitions(path: Path) -> set[str]:
    """Functions, classes and methods of a file, such as `Gateway.answer`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


# Measured at commit f74172e, with the functions of this file: most files in a folder, rooms, arrows, imports in
# functions.
BEFORE = {
    "tandem": (39, 38, 99, 228), "evaluation": (11, 15, 49, 0), "serving": (51, 50, 107, 6),
    "retrieval": (47, 47, 145, 3), "training": (40, 39, 103, 9), "cluster": (30, 31, 66, 6),
}  # fmt: skip


def before_and_after() -> str:
    """The packages' sizes before they were divided, and today."""
    lines = [
        "| package | most files in a folder | rooms | arrows between rooms | imports inside functions |",
        "|---|--:|--:|--:|--:|",
    ]
    today = {name: _sizes(name) for name in PACKAGES}
    for name in PACKAGES:
        lines.append(_sizes_row(f"`{name}`", BEFORE[name], today[name]))
    together = [
        (max(column[0]), *map(sum, column[1:]))
        for column in (list(zip(*sizes.values(), strict=True)) for sizes in (BEFORE, today))
    ]
    return "\n".join([*lines, _sizes_row("all", *together)])


def _sizes(name: str) -> tuple[int, int, int, int]:
    paths, drawn = files(ROOT / name), arrows(name)
    most = max(len(list(folder.glob("*.py"))) for folder in {path.parent for path in paths})
    deferred = {(each.path, each.line) for path in paths for each in imports(path) if each.is_deferred}
    return most, len(drawn), sum(map(len, drawn.values())), len(deferred)


def _sizes_row(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    return f"| {name} | {' | '.join(f'{old} → {new}' for old, new in zip(before, after, strict=True))} |"


def _ours() -> list[Path]:
    return [path for name in PACKAGES for path in files(ROOT / name)]


def rooms_table() -> str:
    """Each package's rooms with what they may import and what is in them."""
    lines = ["| package | room | what it holds | imports |", "|---|---|---|---|"]
    for name in PACKAGES:
        drawn = arrows(name)
        for each in _in_order(drawn):
            lines.append(f"| `{name}` | `{each}` | {_first_line(ROOT / name / each)} | {_listed(drawn[each])} |")
    return "\n".join(lines)


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _first_line(path: Path) -> str:
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
    return " ".join(text.split()).removesuffix(".").replace("|", "\\|")


PARTS = {"picture": picture, "ways": ways, "rooms": rooms_table, "before": before_and_after}


def written(text: str) -> str:
    """The page with its generated parts made anew."""
    for name, make in PARTS.items():
        pattern = rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)"
        text = re.sub(pattern, lambda match, make=make: f"{match[1]}{make()}\n{match[2]}", text, flags=re.DOTALL)
    return text


def main() -> None:
    if "--write" in sys.argv[1:]:
        DOCS.write_text(written(DOCS.read_text()))
        return
    for name in PACKAGES:
        print(name)
        for source, targets in arrows(name).items():
            print(f"    {source} -> {' '.join(sorted(targets))}")


if __name__ == "__main__":
    main()
