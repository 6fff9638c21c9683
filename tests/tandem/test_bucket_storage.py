"""A project whose storage is a bucket: killed on one machine, gone on with on another, used on a third.

A machine is a cache folder of its own; the bucket is all that they share. The tests go on from one another.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from cluster.storage.buckets import Bucket, open_bucket
from cluster.storage.run_copies import HELD
from tests.cluster.s3 import store
from tests.ports import free_port
from tests.training.conftest import write_model

PROJECT = """
project: town
model: ./model
storage: STORE
training: {data: rows.jsonl, rank: 4, epochs: 12, learning_rate: 1.0e-2, micro_batch_size: 1, sequence_length: 128,
           precision: fp32, checkpoint_steps: 10, parity_tolerance: null}
serving: {port: PORT}
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with store() as url:
        yield open_bucket(url)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, bucket: Bucket) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_model(folder / "model", head_dim=32)
    rows = [{"prompt": f"City {n}?", "completion": "x" * (n % 5 + 1)} for n in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tandem.yaml").write_text(PROJECT.replace("STORE", bucket.url).replace("PORT", str(free_port())))
    return folder


def start(project: Path, machine: str, *arguments: str) -> "subprocess.Popen[str]":
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "tandem", *arguments], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": root, "TANDEM_CACHE": str(project / machine)},
    )  # fmt: skip


def run(project: Path, machine: str, *arguments: str) -> str:
    done = start(project, machine, *arguments)
    out, told = done.communicate(timeout=580)
    assert done.returncode == 0, told
    return out


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(1500)
def test_a_training_that_was_killed_is_gone_on_with_on_another_machine(project: Path, bucket: Bucket) -> None:
    killed = start(project, "first", "train")
    wait_for(lambda: len(bucket.glob("town/train-*/checkpoints/step-*/rank-0.json")) >= 2, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    key = bucket.glob("town/train-*/metrics.jsonl")[0]
    before = [json.loads(line)["step"] for line in read(bucket, key).splitlines(keepends=True) if line.endswith("\n")]
    assert not bucket.glob("adapters/town/v*/manifest.json")
    bucket.delete(
        f"{key.rpartition('/')[0]}/{HELD}"
    )  # how long a sign of life counts is in tests/cluster/storage/test_run_copies.py

    resumed = start(project, "second", "train", "--resume")
    _, told = resumed.communicate(timeout=580)
    assert resumed.returncode == 0, told
    assert "going on from step" in told
    steps = [json.loads(line)["step"] for line in read(bucket, key).splitlines() if line]
    assert steps[: len(before)] == before and set(steps) >= set(range(1, max(steps) + 1))
    assert json.loads(read(bucket, f"{key.rpartition('/')[0]}/manifest.json"))["status"] == "done"

    listed = json.loads(run(project, "third", "adapters", "list", "--json"))
    assert [(row["adapter"], row["live"]) for row in listed] == [("town@1", True)]
    assert not list((project / "third").rglob("*.safetensors")), "the weights are fetched when they are used"
    out = run(project, "third", "train")
    assert "reused town@1" in out or json.loads(read(bucket, "adapters/town/aliases/live.json")) == {"version": 1}


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_best_weights_that_only_the_first_worker_has_are_published(project: Path, bucket: Bucket) -> None:
    """Each worker has its own copy of the run folder, and with ZeRO-3 its own share of the weights."""
    settings = yaml.safe_load((project / "tandem.yaml").read_text())
    settings["project"] = "best"
    settings["training"] |= {"zero_stage": 3, "early_stopping": 1, "eval_steps": 1, "held_out": 0.2, "workers": 2}
    path = project / "best.yaml"
    path.write_text(yaml.safe_dump(settings))
    run(project, "fifth", "train", "-c", str(path))
    (key,) = bucket.glob("best/train-*/best.safetensors")
    steps = [json.loads(line) for line in read(bucket, f"{key.rpartition('/')[0]}/metrics.jsonl").splitlines()]
    losses = {line["step"]: line["held_out_loss"] for line in steps if "held_out_loss" in line}
    manifest = json.loads(read(bucket, "adapters/best/v1/manifest.json"))
    assert manifest["metrics"]["held_out_loss"] == min(losses.values())


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_a_machine_that_never_had_it_serves_the_adapter(project: Path, bucket: Bucket) -> None:
    """vLLM takes the weights from that machine's cache, where the endpoint fetched them when they were asked for."""
    port = yaml.safe_load((project / "tandem.yaml").read_text())["serving"]["port"]
    serving = start(project, "fourth", "serve")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_ready(f"{url}/health"), serving)
        body = {"model": "base:town", "prompt": "City 1?", "max_tokens": 4}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=120)
        assert (answer.status_code, answer.json()["model"]) == (200, "base:town@1"), answer.text
        assert list((project / "fourth").rglob("*.safetensors"))
    finally:
        serving.send_signal(signal.SIGTERM)
        _, told = serving.communicate(timeout=120)
    assert serving.returncode == 0, told


def test_keys_and_promotions_are_one_for_all_machines(project: Path, bucket: Bucket) -> None:
    made = json.loads(run(project, "first", "keys", "create", "team", "--json"))
    assert [key["id"] for key in json.loads(run(project, "second", "keys", "list", "--json"))] == [made["id"]]
    run(project, "second", "keys", "revoke", made["id"])
    assert json.loads(run(project, "first", "keys", "list", "--json")) == []


def test_a_local_index_is_refused(project: Path) -> None:
    (project / "docs").mkdir()
    path = project / "retrieving.yaml"
    path.write_text((project / "tandem.yaml").read_text() + "retrieval: {sources: [docs]}\n")
    done = start(project, "first", "index", "-c", str(path))
    _, told = done.communicate(timeout=200)
    assert done.returncode == 2 and "retrieval.uri" in told and "Traceback" not in told


def read(bucket: Bucket, key: str) -> str:
    found = bucket.read(key)
    assert found, key
    return found.content.decode()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(holds: "object", process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 580
    while not holds():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
