"""What a model's files say about serving it."""

import json
from pathlib import Path

import pytest

from serving.engine.model_files import ModelFiles, read_model_files

MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"


def test_the_files_of_a_folder() -> None:
    files = read_model_files(str(MODEL))
    assert files.weights_bytes == sum(file.stat().st_size for file in MODEL.glob("*.safetensors"))
    assert files.max_positions and files.kv_bytes_per_token and files.architectures


def test_a_hub_id_that_is_not_here() -> None:
    assert read_model_files("nobody/nothing") == ModelFiles()


@pytest.mark.parametrize(
    ("config", "kv_bytes"),
    [
        # Llama 3 8B: 2 x 32 layers x 8 heads x 128 x 2 bytes.
        ({"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}, 131_072),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 64, "hidden_size": 64}, 2 * 2 * 4 * 64 * 2),
        # DeepSeek V3: 61 layers x (512 + 64) x 2 bytes.
        ({"num_hidden_layers": 61, "num_attention_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 70_272),
        ({"text_config": {"num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}}, 2 * 8 * 2),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 2 * 12 * 768 * 2),
        ({"model_type": "mamba"}, None),
    ],
)
def test_the_cache_of_a_token(tmp_path: Path, config: dict[str, object], kv_bytes: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    files = read_model_files(str(tmp_path))
    assert (files.kv_bytes_per_token, files.weights_bytes) == (kv_bytes, 5)


@pytest.mark.parametrize(
    ("config", "longest"),
    [({"max_position_embeddings": 64}, 64), ({"n_positions": 1024}, 1024), ({}, None),
     ({"max_position_embeddings": 8192, "max_seq_len": 4096}, 4096), ({"max_position_embeddings": None}, None)],
)  # fmt: skip
def test_the_longest_sequence_under_any_of_its_names(
    tmp_path: Path, config: dict[str, object], longest: int | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    assert read_model_files(str(tmp_path)).max_positions == longest
