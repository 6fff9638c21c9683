"""A node is lost and comes back while Ray Train works."""

import threading
import time
from pathlib import Path

import pytest
import ray

from tests.training.test_train import CITIES, Training
from training.trainer.metrics import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(f'{{"prompt": "City {n}?", "completion": "{city}"}}\n' for n, city in enumerate(CITIES)))
    return path


@pytest.mark.matrix
def test_a_lost_node_shrinks_the_group_and_a_returned_one_grows_it(
    tmp_path: Path, model_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "resources": {"worker": 1}})
    node = cluster.add_node(num_cpus=1, resources={"worker": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        training = Training(
            tmp_path, model_folder, data, workers={"min": 1, "max": 2}, epochs=6000, checkpoint_steps=50,
            ray_options={"resources_per_worker": {"worker": 1}, "elastic_resize_monitor_interval_s": 5},
        )  # fmt: skip
        metrics = training.run.path / "metrics.jsonl"
        thread = threading.Thread(target=lambda: _ended(training), daemon=True)
        thread.start()
        wait_for(lambda: num_workers(metrics) == 2 and len(read_metrics(metrics)) > 120, 90)
        cluster.remove_node(node)
        wait_for(lambda: num_workers(metrics) == 1, 150)
        kept = checkpoints(training.run.path)
        wait_for(lambda: checkpoints(training.run.path) - kept, 60)  # one of the smaller group's own
        cluster.add_node(num_cpus=1, resources={"worker": 1})
        wait_for(lambda: num_workers(metrics) == 2, 150)
    finally:
        ray.shutdown()
        cluster.shutdown()
    notes = [line for line in training.progress if line.startswith("going on from step")]
    assert "with 1 workers" in notes[0] and "of 2 workers" in notes[0]
    assert "with 2 workers" in notes[1] and "of 1 workers" in notes[1]


def _ended(training: Training) -> None:
    try:
        training.start()
    except BaseException:  # noqa: BLE001 - the cluster is taken away at the end of the test
        return


def checkpoints(run: Path) -> set[str]:
    return {path.name for path in run.rglob("step-*") if path.is_dir()}


def num_workers(metrics: Path) -> int:
    lines = [line for line in read_metrics(metrics) if "num_workers" in line]
    # Steps that a shrunk group has not done again yet are still those of the larger one.
    return int(metrics.read_text().rsplit('"num_workers": ', 1)[1][0]) if lines else 0


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.2)
