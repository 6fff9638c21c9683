"""Limits where the project file sets none; vLLM's own are compared with vLLM's source."""

import ast
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.engine.limits import BATCHED_TOKENS, longest_request, request_limits, start_timeout_s, vllm_max_num_seqs
from serving.engine.lora_support import models_folder
from tests.serving.machines import (
    A10,
    A100,
    AUTOSCALED,
    B200,
    CPU,
    EIGHT_H100,
    H100,
    H200,
    HEAD_WITHOUT_GPUS,
    ONE_A10,
    ONE_H200,
    TWO_NODES,
    V100,
    Gpu,
    Hardware,
)


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [(CPU, (64, 64, 64)), (ONE_A10, (256, 512, 512)), (ONE_H200, (1024, 2048, 2048)), (EIGHT_H100, (1024, 2048, 2048)),
     (TWO_NODES, (1024, 2048, 2048)), (HEAD_WITHOUT_GPUS, (1024, 2048, 2048)), (AUTOSCALED, (256, 512, 512))],
)  # fmt: skip
def test_the_hardware_sets_what_the_project_does_not(hardware: Hardware, expected: tuple[int, int, int]) -> None:
    limits = request_limits(ServingConfig(), hardware)
    assert (limits.max_num_seqs, limits.max_ongoing_requests, limits.max_queued_requests) == expected
    written = ServingConfig(max_num_seqs=7, max_ongoing_requests=8, max_queued_requests=0)
    limits = request_limits(written, hardware)
    assert (limits.max_num_seqs, limits.max_ongoing_requests, limits.max_queued_requests) == (7, 8, 0)


def test_a_part_of_a_gpu_counts_as_a_smaller_gpu() -> None:
    assert request_limits(ServingConfig(), ONE_H200, 0.4).max_num_seqs == 256


def test_no_more_requests_than_tokens_in_a_step() -> None:
    config = ServingConfig(engine_kwargs={"max_num_batched_tokens": 512})
    assert request_limits(config, ONE_H200).max_num_seqs == 512


@pytest.mark.parametrize("tokens", ["8k", "512", 0, -1, 2.5, True])
def test_tokens_of_a_step_that_are_no_number_are_refused(tokens: object) -> None:
    with pytest.raises(TandemError, match="max_num_batched_tokens"):
        request_limits(ServingConfig(engine_kwargs={"max_num_batched_tokens": tokens}), ONE_H200)


def vllms_defaults(gpu: Gpu) -> tuple[dict[str, int], dict[str, int]]:
    """Tokens and requests of a step that vLLM's own function gives for this GPU; its source is run, not imported."""
    models = models_folder()
    assert models is not None
    source = (models.parents[1] / "engine" / "arg_utils.py").read_text()
    function = next(
        node for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "get_batch_defaults"
    )  # fmt: skip
    lines = [
        line for line in textwrap.dedent(ast.get_source_segment(source, function, padded=True) or "").splitlines()
        if "import UsageContext" not in line
    ]  # fmt: skip
    platform = SimpleNamespace(
        get_device_total_memory=lambda: gpu.memory_bytes, get_device_name=lambda: gpu.name, is_tpu=lambda: False,
        is_cpu=lambda: False,
    )  # fmt: skip
    known: dict[str, Any] = {
        "UsageContext": SimpleNamespace(LLM_CLASS="library", OPENAI_API_SERVER="server"), "GiB_bytes": 2**30,
        "current_platform": platform,
    }  # fmt: skip
    exec("from __future__ import annotations\n" + "\n".join(lines), known)
    return known["get_batch_defaults"](None, 1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("gpu", [V100, A10, A100, H100, H200, B200], ids=lambda gpu: gpu.name)
def test_the_number_of_requests_is_vllms_own(gpu: Gpu) -> None:
    tokens, requests = vllms_defaults(gpu)
    assert vllm_max_num_seqs(gpu) == requests["server"] <= tokens["server"]
    if gpu.memory_bytes < 70 * 2**30:
        assert tokens["server"] == BATCHED_TOKENS


def test_the_longest_request_is_known_or_left_to_the_engine() -> None:
    assert longest_request(ServingConfig(), CPU, None) == 2048
    assert longest_request(ServingConfig(), CPU, 512) == 512
    assert longest_request(ServingConfig(), ONE_H200, 131_072) == 131_072
    assert longest_request(ServingConfig(), ONE_H200, None) is None
    assert longest_request(ServingConfig(max_model_len=8192), ONE_H200, 131_072) == 8192


def test_large_weights_have_longer_to_start() -> None:
    assert start_timeout_s(ServingConfig(), 1, 0) == 600
    assert start_timeout_s(ServingConfig(), 1, 141 * 10**9) == 600 + 1410
    assert start_timeout_s(ServingConfig(), 2, 32 * 10**9) == 2 * 600 + 320
    assert start_timeout_s(ServingConfig(), 1, None) == 4200, "a model that is still to be downloaded"
    assert start_timeout_s(ServingConfig(start_timeout_s=30), 1, 141 * 10**9) == 30


def test_the_source_of_vllm_is_where_it_is_read() -> None:
    folder = models_folder()
    assert folder is not None and Path(folder, "registry.py").is_file()
