import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.conftest import write_model
from tests.training.served import load_served, served_dtype
from training.config import TrainingConfig
from training.model.model import load_model
from training.publish.weights import merge_adapter, save_adapter, save_full, stored_dtype

CPU = torch.device("cpu")
TOKENS = torch.arange(8, 60)[None]
METHODS = [{}, {"method": "dora"}, {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}]


def trained(model: str, **settings):
    """A model that is no longer its base, in fp32."""
    tuned = load_model(model, TrainingConfig(precision="fp32", rank=4, **settings), CPU).eval()
    torch.manual_seed(1)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return tuned, {name: p.detach().clone() for name, p in tuned.named_parameters() if p.requires_grad}


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS, use_cache=False).logits.float()


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def base(request, tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "base", request.param)
    # transformers reads this, and refuses to write it.
    (folder / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.6, "eos_token_id": 2}')
    return folder


@pytest.mark.parametrize("settings", METHODS, ids=["lora", "dora", "head", "embeddings"])
def test_a_merged_adapter_is_the_tuned_model_in_the_bases_own_format(
    base: Path, tmp_path: Path, settings: dict
) -> None:
    tuned, state = trained(str(base), **settings)
    save_adapter(tuned, state, str(base), tmp_path / "adapter")
    merge_adapter(str(base), tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
    dtype = merged.dtype
    check_files(tmp_path / "merged", base, dtype)
    difference = (logits(merged.float()) - logits(tuned)).abs()
    assert logits(tuned).std() > 1
    assert difference.max() < 1e-4 if dtype == torch.float32 else difference.mean() < 0.15
    # An adapter that was dropped would be much further off.
    assert (
        difference.mean()
        < 0.2 * (logits(AutoModelForCausalLM.from_pretrained(base).float()) - logits(tuned)).abs().mean()
    )


def test_a_tuned_model_comes_back_whole(base: Path, tmp_path: Path) -> None:
    tuned, state = trained(str(base), method="full")
    expected = logits(tuned)
    for parameter in tuned.parameters():
        parameter.data.zero_()  # with ZeRO-3 the model holds a share of its weights only
    save_full(tuned, state, str(base), tmp_path / "full")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "full", dtype="auto").eval()
    dtype = loaded.dtype
    check_files(tmp_path / "full", base, dtype)
    difference = (logits(loaded.float()) - expected).abs()
    assert difference.max() < 1e-5 if dtype == torch.float32 else difference.mean() < 0.1


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_what_is_served_can_be_loaded_again(model_folder: Path, tmp_path: Path, method: str) -> None:
    tuned, state = trained(str(model_folder), method=method)
    (save_full if method == "full" else save_adapter)(tuned, state, str(model_folder), tmp_path / "saved")
    served = load_served(str(model_folder), tmp_path / "saved")
    dtype = served_dtype(str(model_folder))
    assert {parameter.dtype for parameter in served.parameters()} == {dtype}
    written = stored_dtype(str(model_folder)) if method == "full" else dtype
    for parameter in tuned.parameters():
        parameter.data = parameter.data.to(written).to(dtype)
    (tuned if method == "full" else tuned.base_model.model).set_attn_implementation("sdpa")
    torch.testing.assert_close(logits(served), logits(tuned), atol=0, rtol=0)


def check_files(folder: Path, base: Path, dtype: torch.dtype) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == json.loads((base / "config.json").read_text())["dtype"] == str(dtype).split(".")[1]
    assert (folder / "generation_config.json").read_text() == (base / "generation_config.json").read_text()
    assert (folder / "model.safetensors").exists()
    tokenizers = [AutoTokenizer.from_pretrained(each) for each in (base, folder)]
    assert tokenizers[0].get_chat_template() == tokenizers[1].get_chat_template()
    assert tokenizers[0]("Über 12 <|end|>").input_ids == tokenizers[1]("Über 12 <|end|>").input_ids


def test_weights_are_cut_into_files(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.publish.weights._MAX_SHARD_SIZE", "100KB")
    tuned, state = trained(str(model_folder), method="full")
    save_full(tuned, dict(state), str(model_folder), tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    weights = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert "model.embed_tokens.weight" in weights and "lm_head.weight" not in weights
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path).get_input_embeddings().weight,
        state["model.embed_tokens.weight"].bfloat16(),
    )


def test_the_same_training_gives_the_same_adapter_files(model_folder: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("once", "twice"):
        tuned, state = trained(str(model_folder))
        save_adapter(tuned, state, "some/base", tmp_path / name)
        contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1] and set(contents[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    settings = json.loads(contents[0]["adapter_config.json"])
    assert settings["base_model_name_or_path"] == "some/base"
    assert settings["target_modules"] == sorted(settings["target_modules"])
