"""Training and indexing on a head without CPUs and two workers, one of which is lost in the middle."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.registry.registry import Registry
from tests.cluster.nodes import Nodes, several_nodes
from tests.cluster.test_serving_nodes import wait_for
from tests.ports import free_port
from tests.serving.served_app import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.timeout(1500)]
CPUS = 4
NUM_DOCUMENTS = 4000
WORK_S = 900.0


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    with several_nodes() as nodes:
        nodes.head()
        nodes.workers(CPUS, CPUS)
        yield nodes


class Command:
    """A `tandem` command that runs, as a user runs it on the head."""

    def __init__(self, cluster: Nodes, folder: Path, *arguments: str, **settings: Any) -> None:
        known = {"project": "nodes", "model": str(MODEL), "cluster": {"address": cluster.address}}
        (folder / "tandem.yaml").write_text(yaml.safe_dump(known | settings))
        self._output = (folder / "output").open("w+")
        self.told = (folder / "told").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tandem", *arguments, "--json"],
            cwd=folder, env=cluster.environment, stdout=self._output, stderr=self.told, text=True,
        )  # fmt: skip

    def result(self) -> Any:
        """What it prints once it has ended well."""
        try:
            self.process.wait(WORK_S)
        finally:
            self.process.kill()
        self._output.seek(0)
        assert self.process.returncode == 0, self.errors
        return json.loads(self._output.read())

    @property
    def errors(self) -> str:
        self.told.seek(0)
        return self.told.read()


def test_a_training_goes_on_to_its_end_when_a_node_is_lost(cluster: Nodes, tmp_path: Path) -> None:
    """A worker on each node, ZeRO-2; the version is published, and live: it was served on what was left."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "City {number}?", "completion": "It is {number}."}}\n' for number in range(24))
    )
    training = {
        "data": "rows.jsonl", "precision": "fp32", "rank": 4, "epochs": 150, "learning_rate": 1e-3,
        "micro_batch_size": 1, "sequence_length": 128, "held_out": 0.2, "zero_stage": 2, "checkpoint_steps": 50,
        "workers": {"min": 1, "max": 2}, "ray_options": {"resources_per_worker": {"CPU": CPUS - 1}},
    }  # fmt: skip
    command = Command(cluster, tmp_path, "train", training=training, serving={"port": free_port()})
    wait_for(lambda: len(numbers_of_workers(tmp_path)) > 120 or command.process.poll() is not None, WORK_S)
    assert set(numbers_of_workers(tmp_path)) == {2}, command.errors
    _, lost = (node for node in cluster.started[1:])
    assert lost.processes("RayTrainWorker"), "each node has one of the two workers"
    lost.kill()
    published = command.result()
    done = numbers_of_workers(tmp_path)
    assert done[0] == 2 and done[-1] == 1
    assert published["metrics"]["num_steps"] > 120
    assert Registry(tmp_path / "runs" / "adapters").resolve("nodes").version == 1, "it is live"


def numbers_of_workers(folder: Path) -> list[int]:
    """Of each step that was done."""
    lines = [line for file in folder.glob("runs/nodes/train-*/metrics.jsonl") for line in file.read_text().splitlines()]
    return [read["num_workers"] for line in lines if line.endswith("}") and "loss" in (read := json.loads(line))]


def test_an_index_is_complete_when_a_node_is_lost_in_the_middle(cluster: Nodes, tmp_path: Path) -> None:
    with (tmp_path / "facts.jsonl").open("w") as file:
        for number in range(NUM_DOCUMENTS):
            text = f"The number of this fact is {number}. " * (1 + number % 12)
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    retrieval = {"sources": ["facts.jsonl"], "embedding_workers": 2 * CPUS - 2}
    command = Command(cluster, tmp_path, "index", retrieval=retrieval)
    _, lost = (node for node in cluster.started[1:])
    wait_for(lambda: "submit" in str(lost.processes("MapWorker")) or command.process.poll() is not None, WORK_S)
    assert command.process.poll() is None, command.errors
    lost.kill()
    report = command.result()
    assert report["num_embedded"] == report["num_chunks"] == NUM_DOCUMENTS
    found = subprocess.run(
        [sys.executable, "-m", "tandem", "search", "--json", f"the fact {NUM_DOCUMENTS - 1}"],
        cwd=tmp_path, env=cluster.environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
