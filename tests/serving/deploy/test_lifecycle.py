"""Starting that fails, ending by force after which nothing of vLLM or Serve is left, and an engine more for a load."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.asking import asking
from tests.ports import free_port
from tests.serving.served_app import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

OURS = ("EngineCore", "ServeReplica", "ServeController")
DRIVER = """
import json, sys, time
from pathlib import Path
from cluster.config import ClusterConfig
from cluster.session import ray_session
from cluster.storage.storage import Storage
from serving.config import ServingConfig
from serving.deploy.run import running_endpoint
model, storage, settings = sys.argv[1:]
with ray_session(ClusterConfig()), running_endpoint(
    ServingConfig(**json.loads(settings)), model, Storage(Path(storage)), None, None, lambda _: None
):
    print("ready", flush=True)
    time.sleep(600)
"""


WATCHING = DRIVER.replace(
    "    time.sleep(600)\n",
    """
    from ray import serve
    while True:
        engines = serve.status().applications["tandem"].deployments["engine-base"]
        print(engines.replica_states.get("RUNNING"), flush=True)
        time.sleep(1)
""",
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_driver_that_was_ended(tmp_path: Path, how: signal.Signals) -> None:
    command = driver_of(MODEL, tmp_path, port=free_port())
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
    command = driver_of(model, tmp_path / "storage", port=free_port())
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    error = done.stderr[done.stderr.rindex("TandemError: ") :]
    assert "The endpoint did not start: " in error
    assert "engine" in error
    assert len(error) < 3000


@pytest.mark.timeout(900)
def test_an_engine_more_is_started_for_a_load_and_no_request_fails(tmp_path: Path) -> None:
    port = free_port()
    scaled = {"num_replicas": {"min": 1, "max": 2}, "max_ongoing_requests": 4}
    body = {"model": "base", "messages": [{"role": "user", "content": "Iron?"}], "max_tokens": 24, "ignore_eos": True}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = driver_of(MODEL, tmp_path, WATCHING, port=port, **scaled)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert driver.stdout
        assert any(line == "ready\n" for line in driver.stdout)
        try:
            with asking(url, [body] * 4, {}) as clients:
                began = time.monotonic()
                assert any(line == "2\n" for line in driver.stdout), "it ended before a second engine was ready"
                print(f"two engines are ready after {time.monotonic() - began:.0f} s, {len(clients.asked)} requests")
                time.sleep(10)
        finally:
            driver.send_signal(signal.SIGINT)
    assert len(clients.asked) > 40 and not clients.failed, clients.failed[:3]


def driver_of(model: Path, storage: Path, code: str = DRIVER, **settings: Any) -> list[str]:
    return [sys.executable, "-c", code, str(model), str(storage), json.dumps(settings)]


def _is_ours(process: psutil.Process) -> bool:
    return any(name in " ".join(process.cmdline()) for name in OURS)
