"""What `tandem index` says of a run."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.index.report import EmptySource, Failure, IndexReport
from retrieval.sources.document import PartialText, say_left_out
from retrieval.store.milvus_lite import local_server
from tandem.commands.data.index import as_text


def test_what_was_left_out_of_a_document_is_said() -> None:
    report = IndexReport("help", left_out=[Failure("a.pdf", "has no text layer on page 2")])
    assert as_text(report) == "help is up to date.\n  a.pdf: indexed, but has no text layer on page 2"


def test_a_text_knows_what_was_left_out_of_it() -> None:
    text = say_left_out("Iron rusts.", ["has no text layer on page 2"])
    assert text == "Iron rusts." and isinstance(text, PartialText) and text.left_out == ("has no text layer on page 2",)
    assert type(say_left_out("Iron rusts.", [])) is str


def test_other_files_are_counted_in_one_line_and_an_empty_source_says_what_to_do() -> None:
    report = IndexReport("help", other_files={".xml": 22, ".ipynb": 25}, empty=[EmptySource("docs", 5)])
    first, empty, files = as_text(report).split("\n  ")
    assert first == "help is up to date."
    assert files == "47 files of other kinds were left out (.ipynb 25, .xml 22)."
    assert empty.startswith("The source docs holds no document now.") and "5 documents" in empty
    assert "tandem index --allow-empty" in empty


def test_pages_that_are_not_read_are_counted_by_their_reason() -> None:
    report = IndexReport("help", other_pages={"pages on other hosts": 2, "pages that robots.txt forbids": 5})
    assert as_text(report).endswith("Left out of sites: 5 pages that robots.txt forbids, 2 pages on other hosts.")


def index(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return tandem(project, "index", "--json", *options)


def tandem(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    return subprocess.run(
        [sys.executable, "-m", "tandem", *words], cwd=project, env=environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_projects_of_one_name_keep_their_documents(tmp_path: Path) -> None:
    """Two folders of one name, whose projects have one name and so one collection, by two spellings of one server."""
    with local_server(tmp_path / "milvus") as uri:
        projects = [tmp_path / each / "handbook" for each in ("one", "two")]
        for number, project in enumerate(projects):
            (project / "docs").mkdir(parents=True)
            (project / "docs" / f"{number}.md").write_text(f"# Number {number}\n\nThis is number {number}.\n")
            address = uri.replace("127.0.0.1", "localhost") if number else uri
            settings = {"model": "m", "retrieval": {"uri": address, "sources": ["docs"]}}
            (project / "tandem.yaml").write_text(json.dumps(settings))
        first, second = projects
        assert json.loads(index(first).stdout)["added"] == 1
        refused = index(second)
        assert refused.returncode == 2 and refused.stdout == ""
        said = "".join(refused.stderr.split())  # lines are wrapped
        assert "belongstoanotherproject:`handbook`,firstindexedon" in said
        assert f"from{first}" in said and "--take-over" in said
        forgotten = tandem(second, "forget", "0.md")
        assert forgotten.returncode == 2 and "another project" in " ".join(forgotten.stderr.split())
        assert json.loads(index(first).stdout)["unchanged"] == 1, "nothing of it was deleted"
        taken = index(second, "--take-over")
        report = json.loads(taken.stdout)
        assert (report["added"], report["deleted"]) == (1, 1) and "belongs to this project from now on" in taken.stderr
        assert report["notes"] == [
            "The collection handbook belongs to this project from now on; it belonged to `handbook`, first indexed on "
            f"{socket.gethostname()} from {first}."
        ]
        assert index(first).returncode == 2
