"""A base whose weights are stored quantized is refused before anything starts, from its config.json alone."""

import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
from tandem.compare.check import check_data
from tandem.console import Console
from tandem.pipeline.training import check_training
from tandem.project.project import Project, load
from training.config import TrainingConfig
from training.model.base_weights import check_base_weights
from training.run import prepare_run

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """A folder whose weights nobody could load: what is refused is not loaded."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not loaded")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "mxfp4"}}))
    return tmp_path / "model"


def project_with(model: Path) -> Project:
    path = model.parent / "tandem.yaml"
    path.write_text(
        f"model: {model}\ntraining: {{data: {QUICKSTART}/train.jsonl}}\n"
        f"evaluation: {{questions: {QUICKSTART}/questions.jsonl, arms: [base, tuned]}}\n"
    )
    return load(path)


def test_it_is_refused_with_what_would_do(quantized: Path) -> None:
    with pytest.raises(TandemError, match=r"are stored quantized \(mxfp4\)") as refused:
        check_base_weights(str(quantized))
    for remedy in ("Set `model` to the model that this one was made from", "method: qlora", "serving.copy_of"):
        assert remedy in refused.value.remedy
    check_base_weights(str(QUICKSTART / "model"))


def test_every_way_to_a_training_refuses_it_first(quantized: Path, tmp_path: Path) -> None:
    project = project_with(quantized)
    with pytest.raises(TandemError, match="stored quantized"):
        check_training(project)
    with pytest.raises(TandemError, match="stored quantized"):
        check_data(project, Console(), ["base", "tuned"])
    with pytest.raises(TandemError, match="stored quantized"):
        prepare_run(TrainingConfig(), str(quantized), tmp_path)
