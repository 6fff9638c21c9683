from pathlib import Path

import pytest
import torch

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model.lora import check_method
from training.model.model import load_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["full", "lora", "dora"])
def test_every_other_method_runs_without_a_gpu(method: str) -> None:
    check_method(TrainingConfig(method=method), has_cuda=False)


def test_four_bits_need_a_gpu() -> None:
    with pytest.raises(TandemError) as refused:
        check_method(TrainingConfig(method="qlora"), has_cuda=False)
    assert "no CUDA GPU" in refused.value.seen
    assert "`training.method: lora`" in refused.value.remedy


def test_four_bits_need_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TandemError, match="bitsandbytes is not installed"):
        check_method(TrainingConfig(method="qlora"), has_cuda=True)


def test_four_bits_are_not_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    check_method(TrainingConfig(method="qlora", zero_stage=2), has_cuda=True)
    with pytest.raises(TandemError, match="zero_stage: 3"):
        check_method(TrainingConfig(method="qlora", zero_stage=3), has_cuda=True)


def test_layers_that_the_model_does_not_have_are_refused(model_folder: Path) -> None:
    config = TrainingConfig(precision="fp32", target_modules=["q_projection"])
    with pytest.raises(TandemError, match="names of layers such as down_proj, gate_proj, k_proj"):
        load_model(str(model_folder), config, CPU)
    with pytest.raises(TandemError, match=r"`modules_to_save` names head, .*embed_tokens"):
        load_model(str(model_folder), TrainingConfig(precision="fp32", modules_to_save=["head"]), CPU)


def test_an_adapter_on_the_output_head_is_refused_where_it_could_not_be_checked(model_folder: Path) -> None:
    targets = {"precision": "fp32", "rank": 4, "target_modules": r".*(q_proj|lm_head)"}
    with pytest.raises(TandemError, match="puts an adapter on the model's output head") as refused:
        load_model(str(model_folder), TrainingConfig(**targets), CPU)
    assert "modules_to_save" in refused.value.accepted
    for allowed in ({"parity_tolerance": None}, {"method": "dora"}, {"target_modules": ["q_proj"]}):
        load_model(str(model_folder), TrainingConfig(**{**targets, **allowed}), CPU)
