"""The wheel of our code: the same bytes for the same code, all of it, installable, and requiring nothing."""

import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from cluster.jobs.wheel import PACKAGES, build_wheel

ROOT = Path(__file__).parents[3]


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(BytesIO(content)).namelist()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_file_of_our_packages_is_in_it_and_nothing_else() -> None:
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [name for name in names(build_wheel().content) if ".dist-info/" not in name]
    assert set(tracked.stdout.splitlines()) <= set(found)
    assert {name.split("/")[0] for name in found} == set(PACKAGES)
    assert not [name for name in found if "__pycache__" in name]


def test_the_same_code_gives_the_same_bytes_wherever_it_lies(code: Path) -> None:
    assert build_wheel(code) == build_wheel(code)
    for path in code.rglob("*"):  # another time, another owner's rights
        path.touch()
    elsewhere = shutil.copytree(code, code / "elsewhere" / "deep")
    assert build_wheel(elsewhere).content == build_wheel(code).content


def test_other_code_gives_another_name(code: Path) -> None:
    before = build_wheel(code)
    (code / "tandem" / "cli.py").write_text("changed = True\n")
    after = build_wheel(code)
    assert after.name != before.name
    assert after.version.split("+")[0] == before.version.split("+")[0]


def test_pip_installs_it_without_asking_anybody(tmp_path: Path) -> None:
    """As Ray does it on a node, but with no package index: whatever it required could not be found."""
    wheel = build_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.content)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(tmp_path / wheel.name), f"--target={tmp_path / 'to'}"], check=True, timeout=120)
    code = "import cluster, importlib.metadata; print(cluster.__file__, importlib.metadata.version('tandem'))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={"PYTHONPATH": str(tmp_path / "to")}, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / "to" / "cluster" / "__init__.py"), wheel.version], done.stderr
