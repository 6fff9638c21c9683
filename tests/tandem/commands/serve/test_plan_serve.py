"""`tandem plan-serve` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.capacity.unit_costs import costs_to_json, shipped_costs

ROOT = Path(__file__).parents[4]
QUICKSTART = ROOT / "examples" / "quickstart" / "model"


def project(folder: Path, model: str) -> Path:
    path = folder / "tandem.yaml"
    path.write_text(json.dumps({"project": "p", "model": model, "storage": "runs"}))
    return path


def tandem(*words: str, verb: str = "plan-serve") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tandem", verb, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_a_plan_from_what_is_shipped(tmp_path: Path) -> None:
    path = str(project(tmp_path, str(QUICKSTART)))
    load = ["--questions-per-day", "100000", "--tokens-in", "300", "--chunks", "50000", "-c", path]
    told = tandem(*load)
    assert told.returncode == 0, told.stderr
    for words in ("retrievers", "First to give out", "No GPU is in these figures", "capacity-costs"):
        assert words in told.stdout, told.stdout
    assert "Next:" in told.stderr
    found = json.loads(tandem(*load, "--json").stdout)
    assert found["wish"]["requests_per_s"] == pytest.approx(4 * 100_000 / 86_400)
    assert {part["name"] for part in found["parts"]} >= {"engines", "gateways", "retrievers", "milvus cores"}


def test_costs_of_ones_own(tmp_path: Path) -> None:
    value = costs_to_json(shipped_costs())
    value["engines"]["some/model"] = value["engines"]["quickstart"] | {"model": "some/model", "gpus": 2}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "capacity.json").write_text(json.dumps(value))
    told = tandem("--requests-per-s", "3", "-c", str(project(tmp_path, "some/model")))
    assert told.returncode == 0, told.stderr
    assert "some/model on 2 GPUs" in told.stdout
    assert "No GPU is in these figures" not in told.stdout


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ([], "No load is given"),
        (["--requests-per-s", "0"], "requests per s is 0"),
        (["--requests-per-s", "-3"], "requests per s is -3"),
        (["--requests-per-s", "nan"], "requests per s is nan"),
        (["--requests-per-s", "1e9"], "requests per s is 1e+09"),
        (["--requests-per-s", "1", "--questions-per-day", "1"], "given twice"),
        (["--requests-per-s", "1", "--tokens-in", "5000"], "up to 2048 together"),
        (["--requests-per-s", "1", "--costs", "nowhere.json"], "nowhere.json holds no unit costs"),
        (["--requests-per-s", "1", "--measure", "nowhere"], "no address of an endpoint"),
        (["--requests-per-s", "1", "--measure", "http://127.0.0.1:9"], "does not answer"),
        (["--requests-per-s", "1"], "was not measured"),
    ],
)
def test_bad_input_is_one_paragraph(tmp_path: Path, words: list[str], seen: str) -> None:
    told = tandem(*words, "-c", str(project(tmp_path, "some/model")))
    assert told.returncode == 2, told.stdout
    assert seen in " ".join(told.stderr.split())
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("option", ["--serve", "--requests-per-s", "--costs"])
def test_an_endpoint_is_not_planned_by_plan(tmp_path: Path, option: str) -> None:
    told = tandem(option, "1", "--chunks", "5", "-c", str(project(tmp_path, "some/model")), verb="plan")
    assert told.returncode == 2, told.stdout
    seen = " ".join(told.stderr.split())
    assert f"{option} is about an endpoint, and what is planned is a training" in seen
    assert "Run `tandem plan-serve`." in seen and "Traceback" not in seen


def test_a_load_beyond_what_can_be_one_only(tmp_path: Path) -> None:
    path = str(project(tmp_path, str(QUICKSTART)))
    told = tandem("--requests-per-s", "90000", "-c", path)
    assert told.returncode == 2
    assert "One limiter ends" in " ".join(told.stderr.split())
    assert "First to give out" in told.stdout
