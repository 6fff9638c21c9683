"""Steps of a GPU run: whatever one of them does, the others run and what is known is reported."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.gpu.bench import attention_that_ran, liger_kernels
from benchmarks.gpu.report import write_result
from benchmarks.gpu.steps import Figure, Outcome, run_steps
from cluster.hardware import read_gpus
from tests.benchmarks.gpu_step_programs import STEPS

PROGRAM = [sys.executable, "-m", "tests.benchmarks.gpu_step_programs"]


def run(*names: str, seconds: float = 60.0) -> dict[str, Outcome]:
    outcomes = run_steps(PROGRAM, [STEPS[name] for name in names], seconds, lambda _: None)
    assert [outcome.step for outcome in outcomes] == list(names)
    return {outcome.step: outcome for outcome in outcomes}


def test_a_step_that_fails_dies_or_hangs_leaves_the_others_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    found = run("raises", "passes", "dies", "skips", "hangs", "fails", "misses")
    reported = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["step"] for line in reported] == list(found)
    passed = {name: outcome.passed for name, outcome in found.items()}
    assert passed == {"raises": False, "passes": True, "dies": False, "skips": None, "hangs": False, "fails": False,
                      "misses": False}  # fmt: skip
    reasons = {name: outcome.reason for name, outcome in found.items()}
    assert reasons == {
        "raises": "ValueError: broken", "passes": None, "dies": "its process ended", "skips": "needs CUDA",
        "hangs": "ran past its limit of 2 s", "fails": "not as it should be", "misses": "target not met: speed",
    }  # fmt: skip
    for name in ("raises", "dies", "hangs"):
        assert [figure["metric"] for figure in found[name].figures] == ["before"]
    assert found["passes"].notes == ["a note"] and found["misses"].figures[0]["ratio"] == 0.8


def test_steps_share_a_process_but_for_one_that_asks_for_its_own() -> None:
    found = run("first", "second", "alone", "after")
    first, second, alone, after = (outcome.figures[0]["ours"] for outcome in found.values())
    assert first == second and len({first, alone, after}) == 3


def test_without_time_left_a_step_is_skipped() -> None:
    found = run("passes", seconds=1.0)
    assert found["passes"].passed is None and found["passes"].reason == "no time was left for it"


def test_a_result_has_the_shape_of_every_result(tmp_path: Path) -> None:
    figure = Figure("speed", "1/s", 8.0, ">= 1.0", 10.0, "another").row()
    outcomes = [Outcome("A0", "machine", figures=[figure], notes=["a note"]), Outcome("A6", "QLoRA", None, reason="no")]
    found = json.loads(write_result("gpu-core", outcomes, tmp_path / "gpu-core.json").read_text())
    assert set(found) == {"benchmark", "commit", "machine", "versions", "rows", "notes"} and found["rows"] == [figure]
    assert found["notes"] == "A0 machine, 0 s: passed: a note. A6 QLoRA, 0 s: skipped (no)"


def test_what_ran_is_known_by_its_operators() -> None:
    assert attention_that_ran({"aten::mm", "torch_attn::_varlen_attn", "aten::scaled_dot_product_attention"}) == (
        "torch varlen"
    )
    assert attention_that_ran({"aten::_scaled_dot_product_flash_attention"}) == "sdpa"
    assert attention_that_ran({"aten::bmm", "aten::softmax"}) == "matrix products"
    assert liger_kernels({"_rms_norm_forward_kernel", "aten::mm"}) == ["_rms_norm_forward_kernel"]
    assert liger_kernels({"aten::mm"}) == []


def test_gpu_check_names_its_programs_and_says_what_to_do_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    (tests, core, whole) = gpu_check.programs(on_cpu=True)
    assert tests[0] == "pytest" and "tests/training/model/test_model.py" in tests
    assert core[:2] == ["benchmarks.gpu_core", "--cpu"] and whole == ["benchmarks.gpu_run", "--cpu"]
    if not read_gpus():
        assert gpu_check.main([]) == 2
        assert "make gpu-check CPU=1" in capsys.readouterr().err
