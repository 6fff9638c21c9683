"""How an earlier run is found again."""

from pathlib import Path

import pytest

from tandem.pipeline.runs import find_run
from tandem.project.project import Project, load

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "tandem.yaml").write_text(f"project: demo\nmodel: {QUICKSTART / 'model'}\n")
    return load(tmp_path / "tandem.yaml")


def test_the_last_run_is_the_newest_that_has_ended(project: Project) -> None:
    for name, ended in (("compare-20260101T000000-a", True), ("compare-20260102T000000-b", True),
                        ("compare-20260103T000000-c", False)):  # fmt: skip
        folder = project.storage.runs("demo") / name
        folder.mkdir(parents=True)
        if ended:
            (folder / "report.json").write_text("{}")
    assert find_run(project, "last").name == "compare-20260102T000000-b"
    assert find_run(project, "compare-20260101T000000-a").name == "compare-20260101T000000-a"
