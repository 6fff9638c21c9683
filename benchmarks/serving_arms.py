"""The endpoints that the serving benchmark asks: plain vLLM, stock `ray.serve.llm`, and ours with its retrieval."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart" / "model"
START_S = 400.0
PROJECT = "bench"
QUESTION_TOKENS = 48
"""With the passage and what stands around it that comes to about as many tokens as the others are sent."""
MAX_MODEL_LEN, MAX_NUM_SEQS = 512, 64
ENGINE = {"dtype": "float32", "max_model_len": MAX_MODEL_LEN, "max_num_seqs": MAX_NUM_SEQS, "enforce_eager": True}


@dataclass(frozen=True)
class Arm:
    """An endpoint that answers, and the model name that is asked for."""

    name: str
    url: str
    model: str = "base"
    key: str | None = None
    num_tokens_in: int = 128


def large_model(folder: Path) -> Path:
    """Random weights of 151M parameters with the quickstart's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(QUICKSTART)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 768, 3072, 16
    config.num_attention_heads = config.num_key_value_heads = 12
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(QUICKSTART).save_pretrained(folder)
    return folder


def write_prompts(path: Path, number: int, num_tokens: int, seed: int) -> Path:
    """User messages that come to `num_tokens` tokens each once the chat template stands around them. None is like
    another, so that no cache of prefixes helps anyone."""
    from transformers import AutoTokenizer

    tokenizer, rng = AutoTokenizer.from_pretrained(QUICKSTART), random.Random(seed)
    empty = [{"role": "user", "content": ""}]
    around, prompts = len(tokenizer.apply_chat_template(empty, add_generation_prompt=True)["input_ids"]), []
    for _ in range(number):
        words = ["".join(rng.choices("aeioulnrst", k=4)) for _ in range(num_tokens)]
        ends = tokenizer(" ".join(words), return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
        prompts.append(" ".join(words)[: ends[num_tokens - around - 1][1]])
    path.write_text(json.dumps(prompts))
    return path


@contextmanager
def plain_vllm(model: Path, folder: Path) -> Iterator[Arm]:
    """vLLM's own API server, in its default state but for what every arm is given."""
    port = free_port()
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in ENGINE.items() if key != "enforce_eager"]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}", "--served-model-name=base",
        f"--port={port}", "--host=127.0.0.1", "--enforce-eager", *flags,
    ]  # fmt: skip
    with started(command, folder / "vllm.log", f"http://127.0.0.1:{port}/health"):
        yield Arm("plain vLLM", f"http://127.0.0.1:{port}/v1")


@contextmanager
def stock_ray(model: Path, folder: Path) -> Iterator[Arm]:
    """`ray.serve.llm` with its defaults."""
    port = free_port()
    script = ROOT / "benchmarks" / "baselines" / "ray_serve_llm.py"
    command = [sys.executable, str(script), str(model), str(port), json.dumps(ENGINE)]
    with started(command, folder / "stock-ray.log", f"http://127.0.0.1:{port}/v1/models"):
        yield Arm("stock ray.serve.llm", f"http://127.0.0.1:{port}/v1")


@contextmanager
def ours(model: Path, folder: Path) -> Iterator[Arm]:
    """`tandem serve`, asked for the base model by whoever comes."""
    with tandem_serve(model, folder) as url:
        yield Arm("ours", url)


@contextmanager
def ours_with_retrieval(model: Path, folder: Path) -> Iterator[Arm]:
    """The same with a key that has limits, asked for answers from documents."""
    project = write_project(model, folder)
    create = ["keys", "create", "bench", "--requests-per-minute", "100000", "--tokens-per-day", "1000000000", "--json"]
    made = subprocess.run(
        [sys.executable, "-m", "tandem", *create, "-c", str(project)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with tandem_serve(model, folder) as url:
        yield Arm("ours, key and retrieval", url, f"base+{PROJECT}", json.loads(made.stdout)["key"], QUESTION_TOKENS)


@contextmanager
def tandem_serve(model: Path, folder: Path, **serving: Any) -> Iterator[str]:
    """Its URL (with /v1); `serving` are settings beside those that every arm is given."""
    project = write_project(model, folder, **serving)
    port = json.loads(project.read_text())["serving"]["port"]
    command = [sys.executable, "-m", "tandem", "serve", "-c", str(project)]
    index = [*command[:3], "index", "-c", str(project)]
    subprocess.run(index, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with started(command, folder / "ours.log", f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}/v1"


def write_project(model: Path, folder: Path, **serving: Any) -> Path:
    """A project file with one document to retrieve."""
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "iron.md").write_text("# Iron\n\nThe atomic number of Iron is 26.\n")
    project = {
        "project": PROJECT, "model": str(model), "storage": "runs",
        "retrieval": {"sources": ["docs"], "top_k": 1},
        "serving": {
            "port": free_port(), "dtype": ENGINE["dtype"], "max_model_len": MAX_MODEL_LEN, "max_num_seqs": MAX_NUM_SEQS,
            **serving,
        },
    }  # fmt: skip
    path = folder / "tandem.yaml"
    path.write_text(json.dumps(project))
    return path


@contextmanager
def started(command: Sequence[str], log: Path, health: str) -> Iterator[None]:
    """A server process that answers; it and its children are gone at the end.

    Raises:
        RuntimeError: it ended or did not answer in time; with the end of its log.
    """
    environment: dict[str, Any] = {
        **os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=log.parent, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
