"""`tandem init` writes a file that loads, and never over one that is there."""

from pathlib import Path

import pytest

from cluster.errors import TandemError
from tandem.commands.start.init import write_project
from tandem.project.project import load


def test_the_file_loads_and_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "my docs").mkdir()
    write_project(tmp_path / "tandem.yaml", tmp_path / "my docs", "Qwen/Qwen3-0.6B")
    project = load(tmp_path / "tandem.yaml")
    assert [source.path for source in project.retrieval.sources] == [tmp_path / "my docs"]
    assert project.model == "Qwen/Qwen3-0.6B"


def test_a_model_folder_elsewhere_stays_absolute(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "project").mkdir()
    write_project(tmp_path / "project" / "tandem.yaml", tmp_path / "docs", str(tmp_path / "model"))
    project = load(tmp_path / "project" / "tandem.yaml")
    assert project.model == str(tmp_path / "model")
    assert [source.path for source in project.retrieval.sources] == [tmp_path / "docs"]


def test_a_project_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tandem.yaml").write_text("mine")
    (tmp_path / "docs").mkdir()
    with pytest.raises(TandemError, match="already a project file"):
        write_project(tmp_path / "tandem.yaml", tmp_path / "docs", "m")
    assert (tmp_path / "tandem.yaml").read_text() == "mine"


def test_a_missing_folder_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="There is no"):
        write_project(tmp_path / "tandem.yaml", tmp_path / "docs", "m")
    assert not (tmp_path / "tandem.yaml").exists()
