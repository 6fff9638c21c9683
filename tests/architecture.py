"""docs/architecture.md, written from the code: the picture, three ways through the house, the rooms, before and after.

python -m tests.architecture     # writes the generated parts of the page again
"""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

from tests.house import PACKAGES, ROOT, arrows, files, imports, package

DOCS = ROOT / "docs" / "architecture.md"
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
    DOCS.write_text(written(DOCS.read_text()))


if __name__ == "__main__":
    main()
