import pytest
from transformers import AutoConfig

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.model.architecture import check_architecture

LONG = {"rope_type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48, "rope_theta": 1e4}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
PHI = AutoConfig.for_model("phi3", rope_parameters=LONG, original_max_position_embeddings=4096)
LLAMA = AutoConfig.for_model("llama", rope_parameters=DYNAMIC, max_position_embeddings=2048)
ALONE = {"packing": False, "micro_batch_size": 1}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("t5", "an encoder with a decoder"), ("bart", "an encoder with a decoder"), ("qwen2_vl", "does not build")],
)
def test_what_is_no_causal_language_model_is_refused_by_its_type(kind: str, said: str) -> None:
    with pytest.raises(TandemError, match=rf"type {kind}.*{said}"):
        check_architecture(AutoConfig.for_model(kind), TrainingConfig())


@pytest.mark.parametrize(
    ("model", "length", "settings"),
    [
        (PHI, 8192, {}),
        (PHI, 4097, {"packing": False}),
        (PHI, 8192, {**ALONE, "objective": "dpo"}),
        (LLAMA, 4096, ALONE),
    ],
)
def test_positions_that_follow_the_longest_row_are_refused(model, length: int, settings: dict) -> None:
    with pytest.raises(TandemError, match="rotary positions") as caught:
        check_architecture(model, TrainingConfig(sequence_length=length, **settings))
    remedy = int(caught.value.remedy.split()[-1].strip("`."))
    check_architecture(model, TrainingConfig(sequence_length=remedy, **settings))


def test_a_row_alone_has_positions_of_its_own() -> None:
    check_architecture(PHI, TrainingConfig(sequence_length=8192, **ALONE))
    check_architecture(PHI, TrainingConfig(sequence_length=4096))
