"""A model's digest follows what decides its answers, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.quantization_config import QuantizationMethod

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model, find_model, read_quantization


def test_the_digest_follows_weights_but_not_the_card(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = digest_model(str(tmp_path))
    (tmp_path / "README.md").write_text("card")
    assert digest_model(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert digest_model(str(tmp_path)) != before


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"holds no config\.json"):
        find_model(str(tmp_path))
    with pytest.raises(TandemError, match="does not exist"):
        digest_model(str(tmp_path / "missing"))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TandemError, match="holds no weights"):
        find_model(str(tmp_path))


def model_with(folder: Path, config: dict[str, Any], files: dict[str, Any] | None = None) -> str:
    (folder / "model.safetensors").write_bytes(b"1")
    for name, value in {"config.json": config, **(files or {})}.items():
        (folder / name).write_text(json.dumps(value))
    return str(folder)


@pytest.mark.parametrize("method", [method.value for method in QuantizationMethod] + ["modelopt", "a new one"])
def test_every_method_of_transformers_and_any_other_is_seen(tmp_path: Path, method: str) -> None:
    settings = {"quantization_config": {"quant_method": method, "bits": 4}}
    assert read_quantization(model_with(tmp_path, settings)) == method
    assert read_quantization(model_with(tmp_path, {"text_config": settings, "vision_config": {}})) == method


@pytest.mark.parametrize(
    ("config", "files", "method"),
    [
        ({"quantization_config": {"load_in_4bit": True}}, {}, "bitsandbytes"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, {}, "compressed-tensors"),
        ({"quantization_config": {"bits": 4}}, {}, "by a method that is not named"),
        ({"quantization_config": "int4"}, {}, "by a method that is not named"),
        ({}, {"hf_quant_config.json": {"quantization": {"quant_algo": "NVFP4"}}}, "nvfp4"),
        ({}, {"quantize_config.json": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({}, {"quant_config.json": {"w_bit": 4, "q_group_size": 128}}, "by a method that is not named"),
        ({"quantization_config": None}, {}, None),
        ({"dtype": "bfloat16", "text_config": {"hidden_size": 8}}, {}, None),
    ],
)
def test_where_else_a_model_says_that_it_is_quantized(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], method: str | None
) -> None:
    assert read_quantization(model_with(tmp_path, config, files)) == method


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(TandemError, match="no JSON object"):
        read_quantization(str(tmp_path))


def test_a_hub_id_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(TandemError, match="neither a folder nor reachable"):
        digest_model("nobody/no-such-model")
