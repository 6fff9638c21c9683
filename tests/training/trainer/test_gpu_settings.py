"""The DeepSpeed settings of GPUs in real engines on a CPU: they arrive, and they change no result."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.gpu_settings import CASES

pytestmark = [pytest.mark.slow, pytest.mark.matrix]


def run_ranks(num_workers: int, model_folder: Path, folder: Path) -> dict[str, dict[str, Any]]:
    module = "tests.training.gpu_settings"
    # Into files: a rank whose pipe is full would wait, and the others for it.
    logs = [folder / f"{rank}.log" for rank in range(num_workers)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(num_workers), str(model_folder), str(folder)],
            cwd=Path(__file__).parents[3], stdout=log.open("w"), stderr=subprocess.STDOUT,
        )
        for rank, log in enumerate(logs)
    ]  # fmt: skip
    try:
        for rank in ranks:
            rank.wait(timeout=300)
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * num_workers, logs[0].read_text()[-4000:]
    return json.loads((folder / "0.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def two_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run_ranks(2, model_folder, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("case", CASES)
def test_settings_of_gpus_change_no_result(two_ranks: dict[str, dict[str, Any]], case: str) -> None:
    on_cpu, on_gpu = two_ranks[f"{case}, cpu"], two_ranks[f"{case}, gpu"]
    # DeepSpeed's optimizer for CPUs is another implementation: after two steps the weights differ by 1e-3.
    tolerance = 5e-3 if "bf16" in case or "offloaded" in case else 1e-5
    assert on_gpu["losses"] == pytest.approx(on_cpu["losses"], rel=tolerance)
    assert on_gpu["squares"] == pytest.approx(on_cpu["squares"], rel=tolerance)
    assert on_gpu["grad_norm"] == pytest.approx(on_cpu["grad_norm"], rel=max(tolerance, 1e-4))


@pytest.mark.parametrize("case", CASES)
def test_settings_of_gpus_arrive(two_ranks: dict[str, dict[str, Any]], case: str) -> None:
    found, stage = two_ranks[f"{case}, gpu"], CASES[case]["zero_stage"]
    offloaded = "offload" in CASES[case]
    assert found["optimizer"] == ("DeepSpeedCPUAdam" if offloaded else "AdamW")
    assert found["fused"] is (None if offloaded else True)
    assert found["overlap_comm"] is True
    assert found["bucket"] == 10_000
    assert found["wrapper"] == ("DeepSpeedZeroOptimizer_Stage3" if stage == 3 else "DeepSpeedZeroOptimizer")
    in_fp32 = "gradients in fp32" in case or CASES[case].get("precision") is None
    assert found["accumulation"] == found["communication"] == ("torch.float32" if in_fp32 else "torch.bfloat16")
    if stage == 3:
        assert found["persistent"] == (0 if "deepspeed" in CASES[case] else 1_000_000)


def test_a_copy_of_the_weights_within_each_node_changes_no_result(model_folder: Path, tmp_path: Path) -> None:
    found = run_ranks(4, model_folder, tmp_path)
    for case in ("ZeRO-3 in shares", "ZeRO-3 full"):
        one, two = found[f"{case}, gpu"], found[f"{case}, gpu nodes"]
        assert (one["group"], two["group"]) == (1, 2)
        assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert two["squares"] == pytest.approx(one["squares"], rel=1e-5)
