"""A comparison of other endpoints alone: the command answers without Ray, an engine or a document store."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from tandem.compare.check import check_arms, check_data
from tandem.console import Console
from tandem.project.project import load
from tests.evaluation.endpoint import Endpoint, completion

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
# The command, and what it has loaded by the end.
COMPARE = """
import runpy, sys
try:
    runpy.run_module("tandem", run_name="__main__")
finally:
    print(sorted({"ray", "vllm", "torch", "pymilvus"} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    started = Endpoint(lambda model, text: completion(model, text.rstrip("?").split()[-1])).start()
    yield started
    started.shutdown()
    started.server_close()


def write_project(folder: Path, url: str, judge: str = "", kind: str = "value", arms: str = "[one, two]") -> Path:
    rows: list[dict[str, Any]] = [
        {"id": f"q{n}", "slice": "s", "question": f"What is {n}?", "kind": kind}
        | ({"rubric": "It is a number."} if kind == "rubric" else {"answers": [str(n)]})
        for n in range(6)
    ]
    graded = [{"question": "Why?", "rubric": "r", "answer": "a", "right": bool(n % 2)} for n in range(30)]
    for name, lines in (("questions.jsonl", rows), ("graded.jsonl", graded)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("# A\n\nSomething.\n")
    file = folder / "tandem.yaml"
    file.write_text(
        f"project: demo\nmodel: {QUICKSTART / 'model'}\nretrieval: {{sources: [docs]}}\nevaluation:\n"
        f"  questions: questions.jsonl\n  arms: {arms}\n  endpoints:\n"
        f"    one: {{url: '{url}', model: one, headers: {{api-key: azure-456}}}}\n"
        f"    two: {{url: '{url}', model: two, api_key: secret-123, parameters: {{temperature: null}}}}\n{judge}"
    )
    return file


@pytest.mark.parametrize("kind", ["value", "rubric"])
def test_neither_ray_nor_an_engine_is_started(tmp_path: Path, endpoint: Endpoint, kind: str) -> None:
    judge = f"  judge: {{url: '{endpoint.url}', model: judge, calibration: graded.jsonl}}\n"
    write_project(tmp_path, endpoint.url, judge, kind)
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, "compare", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == (0 if kind == "value" else 3), done.stderr
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
    report = json.loads(done.stdout)
    assert [arm["adjusted"] for arm in report["arms"]] == [{}, {"temperature": None}]
    (folder,) = (tmp_path / "runs" / "demo").glob("compare-*")
    shown = (folder / "report.md").read_text()
    assert "two: `temperature` was left out, as its settings say." in shown.replace("\\", "")
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "tandem.yaml"]
    assert not [path for path in kept if b"azure-456" in path.read_bytes() or b"secret-123" in path.read_bytes()]


@pytest.mark.parametrize(
    ("judge", "kind", "arms", "needed"),
    [
        ("", "value", "[one]", False),
        ("", "value", "[one, base]", True),
        ("  judge: {model: base, calibration: graded.jsonl}\n", "value", "[one]", True),
        ("  judge: {model: base, calibration: graded.jsonl}\n", "regex", "[one]", False),
        ("  judge: {model: base, calibration: graded.jsonl}\n", "rubric", "[one]", True),
        ("  judge: {model: m, url: 'http://127.0.0.1:9', calibration: graded.jsonl}\n", "rubric", "[one]", False),
    ],
)
def test_the_own_endpoint_is_needed_where_it_is_asked(
    tmp_path: Path, judge: str, kind: str, arms: str, needed: bool
) -> None:
    project = load(write_project(tmp_path, "http://127.0.0.1:9/v1", judge, kind, arms))
    assert check_data(project, Console(), project.evaluation.arms).needs_endpoint is needed


@pytest.mark.parametrize("url", ["https://a.example/v1?api-key=7", "https://me:secret-9@a.example/v1"])
def test_a_key_in_a_url_is_refused_without_being_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(TandemError, match=r"endpoints\.one, https://a\.example/v1, has") as refused:
        check_arms(load(write_project(tmp_path, url)))
    assert "secret-9" not in str(refused.value) and "=7" not in str(refused.value)
