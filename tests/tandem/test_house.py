"""The house: which package and which room may import which, and what a cheap command must not load."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import DOCS, WAYS, missing_stops, written
from tests.house import MAX_FILES, PACKAGES, ROOMS, ROOT, arrows, circle, file_graph, files, imports, modules, package

ARROWS = {
    "tandem": {"evaluation", "training", "serving", "retrieval", "cluster"},
    "evaluation": {"serving.client", "serving.config", "retrieval.config", "cluster"},
    "serving": {"retrieval", "cluster"},
    "retrieval": {"cluster"},
    "training": {"cluster"},
    "cluster": set(),
}
VENDOR_FILES = {"pymilvus": 1, "deepspeed": 1, "vllm": 3, "ray.serve.llm": 3}
HEAVY = ("torch", "ray", "vllm", "deepspeed", "pymilvus", "transformers", "sentence_transformers")
MAX_DEFERRED = 19
"""Imports of our own modules inside functions, in all packages together."""


def all_modules(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, with what it takes from each."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        found |= set(modules(node))
    return found


def within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(allowed + ".")


@pytest.mark.parametrize("name", sorted(ARROWS))
def test_imports_follow_the_arrows(name: str) -> None:
    for path in files(ROOT / name):
        for module in all_modules(path):
            if module.split(".")[0] in ARROWS and module.split(".")[0] != name:
                allowed = any(within(module, target) for target in ARROWS[name])
                assert allowed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_rooms_of_a_package_import_what_is_declared(name: str) -> None:
    declared = {room: set(targets.split()) for room, targets in ROOMS[name].items()}
    assert arrows(name) == declared


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_room_imports_in_a_circle(name: str) -> None:
    assert circle(arrows(name)) == []


def test_no_file_imports_in_a_circle() -> None:
    assert circle(file_graph(path for name in PACKAGES for path in files(ROOT / name))) == []


def test_a_circle_is_found() -> None:
    assert sorted(set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}))) == ["a", "b", "c"]


def test_telemetry_knows_nothing_else_of_the_gateway() -> None:
    folder = ROOT / "serving" / "gateway" / "telemetry"
    for path in files(folder):
        for each in imports(path):
            outside = each.target.is_relative_to(folder.parent) and not each.target.is_relative_to(folder)
            assert not outside or each.target.name == "__init__.py", f"{path.name}:{each.line}"


def test_of_the_sources_a_config_imports_only_their_config() -> None:
    targets = {
        each.target.relative_to(ROOT / "retrieval").as_posix()
        for each in imports(ROOT / "retrieval/config.py")
        if package(each.target) == "retrieval"
    }
    assert targets == {"sources/config.py", "analysis/config.py"}


@pytest.mark.parametrize("folder", sorted({path.parent for name in PACKAGES for path in files(ROOT / name)}), ids=str)
def test_no_folder_has_too_many_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_FILES


def test_an_import_inside_a_function_says_why() -> None:
    deferred = [each for name in PACKAGES for path in files(ROOT / name) for each in imports(path) if each.is_deferred]
    places = sorted({(each.path, each.line) for each in deferred})
    for path, line in places:
        assert _comment_above(path, line), f"{path.relative_to(ROOT)}:{line}"
    assert len(places) <= MAX_DEFERRED, [f"{path.relative_to(ROOT)}:{line}" for path, line in places]


def _comment_above(path: Path, line: int) -> bool:
    """Whether a comment is above the import, or above those that it follows."""
    lines = path.read_text().splitlines()
    above = next(text.strip() for text in reversed(lines[: line - 1]) if not re.match(r"\s*(from|import) |\s*$", text))
    return above.startswith("#")


def test_an_init_file_is_empty_but_for_a_docstring() -> None:
    for path in (path for name in PACKAGES for path in files(ROOT / name) if path.name == "__init__.py"):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1 and ast.get_docstring(ast.parse(path.read_text())), path.relative_to(ROOT)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_way_through_the_house_is_in_the_code(way: str) -> None:
    assert missing_stops(WAYS[way]) == []


def test_a_way_that_the_code_does_not_have_is_found() -> None:
    first, *_ = WAYS["A question over HTTP"]
    assert missing_stops([first, ("training/run.py", "no_such_function", "")]) == [
        "training/run.py: no_such_function", "no import leads to training/run.py: no_such_function",
    ]  # fmt: skip


def test_the_page_on_architecture_shows_the_code() -> None:
    assert written(DOCS.read_text()) == DOCS.read_text(), "run `python -m tests.architecture`"


@pytest.mark.parametrize("vendor", sorted(VENDOR_FILES))
def test_a_vendor_is_imported_in_few_files(vendor: str) -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for name in ARROWS
        for path in files(ROOT / name)
        if any(within(module, vendor) for module in all_modules(path))
    ]
    assert 1 <= len(found) <= VENDOR_FILES[vendor], found


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("package", ["training", "retrieval", "serving", "evaluation", "cluster"])
def test_a_config_module_loads_nothing_heavy(package: str) -> None:
    assert run(f"import sys, {package}.config; print([m for m in {HEAVY} if m in sys.modules])").strip() == "[]"


def test_reading_a_project_loads_nothing_heavy() -> None:
    project = ROOT / "examples" / "quickstart" / "tandem.yaml"
    code = f"""
import sys
from pathlib import Path
from tandem.project.project import load
import tandem.cli
load(Path({str(project)!r}))
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert run(code).strip() == "[]"


def test_help_loads_nothing_heavy_and_names_the_verbs() -> None:
    code = f"""
import sys
from tandem.cli import main
sys.argv = ["tandem", "--help"]
try:
    main()
finally:
    print([m for m in {HEAVY} if m in sys.modules])
"""
    output = run(code)
    assert output.rstrip().endswith("[]")
    for verb in ("demo", "init", "ask", "compare", "serve", "train", "index", "search", "jobs"):
        assert verb in output


@pytest.mark.parametrize("path", [p for name in ARROWS for p in sorted((ROOT / name).rglob("*.py"))], ids=str)
def test_no_file_is_two_rooms(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
