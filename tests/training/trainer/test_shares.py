"""ZeRO-3 with weights that are loaded in shares, in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.two_ranks import CASES

pytestmark = pytest.mark.matrix  # two processes for two minutes


@pytest.fixture(scope="module")
def results(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("ranks")
    logs = [folder / f"{rank}.log" for rank in (0, 1)]  # a pipe that nobody reads would fill up and stop a rank
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_ranks", str(rank), str(model_folder), str(folder)],
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
    assert [rank.returncode for rank in ranks] == [0, 0], [log.read_text() for log in logs]
    return json.loads((folder / "0.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(set(CASES) - {"bf16"}))
def test_weights_loaded_in_shares_train_as_whole_ones(results: dict, case: str) -> None:
    whole, shared = results[f"{case}, ZeRO-2"], results[f"{case}, ZeRO-3"]
    assert shared["losses"] == pytest.approx(whole["losses"], abs=1e-5)
    assert shared["squares"] == pytest.approx(whole["squares"], rel=1e-6)
    assert len(set(shared["losses"])) == 4


@pytest.mark.slow
def test_in_bf16_rotary_frequencies_are_not_rounded(results: dict) -> None:
    """They are fp32 in a model that is loaded whole; rounded, the very first loss is another (by 0.007 here)."""
    whole, shared = results["bf16, ZeRO-2"]["losses"], results["bf16, ZeRO-3"]["losses"]
    assert shared[0] == pytest.approx(whole[0], abs=1e-4)
    assert shared == pytest.approx(whole, abs=0.1)


@pytest.mark.slow
def test_a_rank_holds_half_of_the_model(results: dict) -> None:
    whole, shared = (results[f"full, ZeRO-{stage}"]["held"] for stage in (2, 3))
    assert whole / 2 <= shared < whole / 2 * 1.01
