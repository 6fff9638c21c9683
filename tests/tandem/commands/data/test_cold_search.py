"""What a command loads that begins with nothing: a search, an index of a small file, a search at the endpoint."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.retrieval_cold import retrieval_endpoint
from retrieval.store.milvus_lite import local_server
from tandem.project.project import load
from tests.ports import free_port

ROOT = Path(__file__).parents[4]
HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy.stats", "ray", "vllm", "datasets")
STORE = ("pymilvus", "pandas", "onnxruntime", "tokenizers")
CODE = """
import json, sys
from tandem.cli import main
sys.argv = ["tandem", *{arguments!r}]
try:
    main()
finally:
    print(json.dumps([name for name in {names!r} if name in sys.modules]), file=sys.stderr)
"""


def run(folder: Path, *arguments: str) -> tuple[str, list[str], str]:
    """Standard output, which of the modules above were loaded, and standard error of a command that succeeds."""
    code = CODE.format(arguments=list(arguments), names=HEAVY + STORE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TANDEM_CACHE": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *notes, loaded = done.stderr.strip().splitlines()
    return done.stdout, json.loads(loaded), "\n".join(notes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose documents are indexed and whose store runs."""
    folder = tmp_path_factory.mktemp("cold")
    (folder / "docs").mkdir()
    for name, number in (("Iron", 26), ("Gold", 79), ("Neon", 10)):
        (folder / "docs" / f"{name}.md").write_text(f"# {name}\n\nThe atomic number of {name} is {number}.\n")
    settings = {
        "project": "cold", "model": str(ROOT / "examples" / "quickstart" / "model"), "serving": {"port": free_port()},
        "retrieval": {"sources": [{"path": "docs"}], "timeout_s": 20},
    }  # fmt: skip
    (folder / "tandem.yaml").write_text(yaml.safe_dump(settings))
    with local_server(load(folder / "tandem.yaml").storage.milvus):
        run(folder, "index")
        yield folder


def found(output: str) -> list[Any]:
    return [{**hit, "score": round(hit["score"], 5), "scores": None} for hit in json.loads(output)["hits"]]


@pytest.mark.slow
def test_a_search_and_an_index_of_a_small_file_load_no_torch(folder: Path) -> None:
    output, loaded, notes = run(folder, "search", "What is the atomic number of Gold?", "--json", "--verbose")
    assert found(output)[0]["source"] == "Gold.md" and "79" in found(output)[0]["text"]
    assert loaded == list(STORE) and "searched here" in notes and "sentence-transformers" not in notes
    (folder / "docs" / "Tin.md").write_text("# Tin\n\nThe atomic number of Tin is 50.\n")
    _, loaded, _ = run(folder, "index")
    assert not set(loaded) & set(HEAVY)
    output, _, _ = run(folder, "search", "atomic number of Tin", "--json")
    assert found(output)[0]["source"] == "Tin.md"
    assert "store_start_ms" not in json.loads(output)["timings"]


@pytest.mark.slow
def test_the_endpoint_gives_what_is_found_here_and_is_left_out_where_it_would_not(folder: Path) -> None:
    project, file = load(folder / "tandem.yaml"), folder / "tandem.yaml"
    question = ("search", "What is the atomic number of Gold?", "--json", "--verbose")
    here, _, _ = run(folder, *question)
    written = file.read_text()
    with local_server(project.storage.milvus) as uri, retrieval_endpoint(project, uri):
        output, loaded, notes = run(folder, *question)
        assert "the endpoint at" in notes and not loaded
        assert found(output) == found(here)
        assert json.loads(output).keys() == json.loads(here).keys()
        text, _, _ = run(folder, "search", "What is the atomic number of Gold?")
        assert text.startswith("[1] Gold\n    Gold.md#0 (dense")
        for changed, reason in (
            (["--tenant", "acme"], "another caller"),
            (["--label", "hr"], "another caller"),
            (["--top-k", "60"], "at most 50"),
        ):
            _, loaded, notes = run(folder, *question, *changed)
            assert reason in notes and "pymilvus" in loaded
        file.write_text(written.replace("timeout_s: 20", "timeout_s: 20\n  min_score: -1"))
        _, loaded, notes = run(folder, *question)
        assert "other settings" in notes and "pymilvus" in loaded
        file.write_text(written)
    output, _, notes = run(folder, *question)
    assert "it did not answer" in notes and found(output) == found(here)
