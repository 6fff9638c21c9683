"""Starting that fails, and ending by force: nothing of vLLM or Serve is left."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.serving.served_app import MODEL, free_port

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

OURS = ("EngineCore", "ServeReplica", "ServeController")
DRIVER = """
import sys, time
from pathlib import Path
from cluster.config import ClusterConfig
from cluster.session import ray_session
from cluster.storage import Storage
from serving.config import ServingConfig
from serving.run import served
model, storage, port = sys.argv[1:]
with ray_session(ClusterConfig()), served(
    ServingConfig(port=int(port)), model, Storage(Path(storage)), None, None, lambda _: None
):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_driver_that_was_ended(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", DRIVER, str(MODEL), str(tmp_path), str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert driver.stdout
        assert any(line == "ready\n" for line in driver.stdout)
        ours = [one for one in psutil.Process(driver.pid).children(recursive=True) if _is_ours(one)]
        assert {name for name in OURS if any(name in " ".join(one.cmdline()) for one in ours)} == set(OURS)
        driver.send_signal(how)
        _, alive = psutil.wait_procs(ours, timeout=60)
    assert not [one.cmdline() for one in alive]


def test_a_model_that_vllm_cannot_load_is_an_error_with_its_reason(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in MODEL.iterdir():
        (model / file.name).write_bytes(b"no weights" if file.suffix == ".safetensors" else file.read_bytes())
    command = [sys.executable, "-c", DRIVER, str(model), str(tmp_path / "storage"), str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    error = done.stderr[done.stderr.rindex("TandemError: ") :]
    assert "The endpoint did not start: " in error
    assert "engine" in error
    assert len(error) < 3000


def _is_ours(process: psutil.Process) -> bool:
    return any(name in " ".join(process.cmdline()) for name in OURS)
