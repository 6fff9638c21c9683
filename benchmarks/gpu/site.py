"""What every step of `benchmarks.gpu_run` is given: projects in a folder, and the `tandem` command."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.gpu.steps import StepFailed
from cluster.compile_cache import FOLDERS
from cluster.hardware import read_gpus

ROOT = Path(__file__).resolve().parents[2]
START_S = 400.0
ADAPTER = "tuned"


@dataclass
class Site:
    """Projects below `scratch`, all with one storage. `is_tiny` takes shapes and loads for two CPU cores."""

    scratch: Path
    is_tiny: bool
    on_cpu: bool
    server: "Server | None" = field(default=None)

    @property
    def storage(self) -> Path:
        return self.scratch / "storage"

    @property
    def environment(self) -> dict[str, str]:
        """Compiled code is kept in the scratch folder, so that the first start of an engine is a cold one."""
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.on_cpu else {}
        return {
            **os.environ, **hidden, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
            **{name: str(self.scratch / part) for name, part in FOLDERS.items()},
        }  # fmt: skip

    def write_project(self, name: str, model: Path, **sections: Any) -> Path:
        """A project file with these sections beside the model and the common storage."""
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        path = folder / "tandem.yaml"
        project = {"project": name, "model": str(model), "storage": str(self.storage), **sections}
        path.write_text(json.dumps(project, default=str))
        return path

    def tandem(self, *arguments: str, accepted: Sequence[int] = (0,)) -> Any:
        """Run a command to its end; its JSON result.

        Raises:
            StepFailed: it ended with another exit code; with the end of what it said.
        """
        done = subprocess.run([sys.executable, "-m", "tandem", *arguments, "--json"], capture_output=True, text=True,
                              env=self.environment, cwd=self.scratch)  # fmt: skip
        if done.returncode not in accepted:
            raise StepFailed(f"tandem {arguments[0]} ended with {done.returncode}: {done.stderr[-1200:]}")
        return json.loads(done.stdout)

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """A command that runs on, in this process's group: what ends the step ends it as well."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "tandem", *arguments], stdout=output, stderr=output, env=self.environment,
                cwd=self.scratch,
            )  # fmt: skip

    def runs(self, project: str, verb: str) -> list[Path]:
        """The run folders of a command, the newest last."""
        return sorted((self.storage / project).glob(f"{verb}-*"), key=lambda path: path.stat().st_mtime)

    def serve(self, project: Path) -> float:
        """Start the project's endpoint and keep it for the steps that follow; seconds until it is ready."""
        self.stop_serving()
        self.server = Server(self, project)
        return self.server.start()

    def stop_serving(self) -> None:
        if self.server:
            self.server.stop()
        self.server = None


@dataclass
class Server:
    """`tandem serve`, or another program that answers on the project's port."""

    site: Site
    project: Path
    command: list[str] | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def port(self) -> int:
        return int(json.loads(self.project.read_text())["serving"]["port"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> Path:
        return self.project.parent / ("serve.log" if self.command is None else "plain.log")

    def start(self) -> float:
        """Start it and wait until it is ready; the seconds that took.

        Raises:
            StepFailed: it ended or did not answer in time; with the end of its log.
        """
        began = time.monotonic()
        if self.command is None:
            self.process = self.site.start("serve", "-c", str(self.project), log=self.log)
        else:
            environment = {**self.site.environment, "VLLM_LOGGING_LEVEL": "INFO", "VLLM_CPU_KVCACHE_SPACE": "1"}
            with self.log.open("wb") as output:
                self.process = subprocess.Popen(self.command, stdout=output, stderr=output, env=environment)
        while not _answers(f"http://127.0.0.1:{self.port}/health"):
            if self.process.poll() is not None or time.monotonic() - began > START_S:
                raise StepFailed(f"no endpoint came up: {self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.2)
        return time.monotonic() - began

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class GpuMemory:
    """The most memory that all processes held on this machine's GPUs while `is_on`, sampled in a thread."""

    def __init__(self) -> None:
        self.before = self.most = _used()
        self.is_on = True
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> int:
        """Bytes that came on top of what was held before."""
        self._ends.set()
        self._thread.join()
        return self.most - self.before

    def _sample(self) -> None:
        while not self._ends.wait(0.5):
            if self.is_on:
                self.most = max(self.most, _used())


@contextmanager
def plain_vllm(site: Site, project: Path, model: Path, arguments: dict[str, Any]) -> Iterator[Server]:
    """vLLM's own API server on a free port, with the engine arguments of our endpoint."""
    port = free_port()
    copy = site.scratch / "plain"
    copy.mkdir(exist_ok=True)
    at = copy / "tandem.yaml"
    at.write_text(json.dumps({"serving": {"port": port}}))
    flags = [flag for name, value in arguments.items() for flag in _flag(name, value)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}",
               "--served-model-name=base", f"--port={port}", "--host=127.0.0.1", *flags]  # fmt: skip
    server = Server(site, at, command)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask_many(asked: Sequence[dict[str, Any]], prompts: Sequence[Sequence[str]]) -> tuple[float, list[Any]]:
    """Groups of clients at the same time, each with its own model and prompts; seconds, and each group's Load.

    Raises:
        StepFailed: an answer failed or was refused.
    """
    from serving.capacity.load import Clients

    async def run() -> list[Any]:
        groups = zip(asked, prompts, strict=True)
        return await asyncio.gather(*(Clients(each, questions).run() for each, questions in groups))

    began = time.perf_counter()
    loads = asyncio.run(run())
    failed = [reason for load in loads for reason in load.failed]
    refused = sum(len(load.refused_s) for load in loads)
    if failed or refused:
        raise StepFailed(f"{len(failed)} answers failed ({failed[:3]}) and {refused} were refused")
    return time.perf_counter() - began, loads


def random_prompts(number: int, num_tokens: int, seed: int) -> list[str]:
    """Prompts of about so many tokens of the byte tokenizer, none like another."""
    rng = Random(seed)
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=num_tokens)) for _ in range(number)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _flag(name: str, value: Any) -> list[str]:
    """An engine argument on vLLM's command line."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{name.replace('_', '-')}"]
    return [f"{flag}={json.dumps(value) if isinstance(value, dict) else value}"]


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)
    return False


def _used() -> int:
    return sum(gpu.used_bytes for gpu in read_gpus())
