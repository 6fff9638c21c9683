"""The house: which package may import which, and what a cheap command must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(allowed + ".")


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_imports_follow_the_arrows(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for module in imports(path):
            if module.split(".")[0] in ARROWS and module.split(".")[0] != package:
                allowed = any(within(module, name) or module == name.split(".")[0] for name in ARROWS[package])
                assert allowed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("vendor", sorted(VENDOR_FILES))
def test_a_vendor_is_imported_in_few_files(vendor: str) -> None:
    files = [
        path.relative_to(ROOT).as_posix()
        for package in ARROWS
        for path in (ROOT / package).rglob("*.py")
        if any(within(module, vendor) for module in imports(path))
    ]
    assert 1 <= len(files) <= VENDOR_FILES[vendor], files


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
