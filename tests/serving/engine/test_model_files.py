"""What a model's files say about serving it."""

import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
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
        (
            {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": [1, 3], "head_dim": 8},
            2 * 4 * 8 * 2,
        ),
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


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}, 131_072),
        ({"rope_scaling": {"type": "yarn", "factor": 4}}, 131_072),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, 65_536),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": None}}, 32_768),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0},
                              "sliding_attention": {"rope_type": "default"}}}, 262_144),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}}, 32_768),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}}, 32_768),
        ({"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 32_768),
        ({"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [16, 24, 24]}}, 32_768),
        ({"model_max_length": 131_072}, 131_072),
    ],
)  # fmt: skip
def test_rotary_scaling_counts_as_in_vllm(tmp_path: Path, config: dict[str, object], longest: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 32768, **config}))
    (tmp_path / "model.safetensors").touch()
    assert read_model_files(str(tmp_path)).max_positions == longest


def test_weights_that_a_folder_holds_twice_count_once(tmp_path: Path) -> None:
    """vLLM takes Mistral's own format where it is there, and otherwise what the index names."""
    (tmp_path / "config.json").write_text("{}")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "other.safetensors"]
    for name, size in zip(names, (10, 20, 40), strict=True):
        (tmp_path / name).write_bytes(b"0" * size)
    (tmp_path / "training_args.bin").write_bytes(b"0" * 5)
    assert read_model_files(str(tmp_path)).weights_bytes == 70
    index = {"weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_model_files(str(tmp_path)).weights_bytes == 30
    (tmp_path / "consolidated.safetensors").write_bytes(b"0" * 31)
    assert read_model_files(str(tmp_path)).weights_bytes == 31
    (tmp_path / "consolidated.safetensors").unlink()
    (tmp_path / names[1]).unlink()
    assert read_model_files(str(tmp_path)).weights_bytes is None


@pytest.mark.parametrize(
    "content",
    ["{bad", "[]", "null", '{"num_hidden_layers": 2, "num_attention_heads": [4], "hidden_size": 8}',
     '{"text_config": [1]}', '{"architectures": "Llama"}', '{"architectures": [1]}', '{"architectures": 5}',
     '{"max_position_embeddings": 64, "rope_scaling": [1]}', '{"model_max_length": "8k"}',
     '{"max_position_embeddings": 64, "rope_scaling": {"rope_type": "linear", "factor": "two"}}',
     '{"max_position_embeddings": 64, "rope_scaling": {"rope_type": "linear", "factor": "2"}}',
     '{"max_position_embeddings": 64, "rope_scaling": {"rope_type": "linear", "factor": Infinity}}',
     '{"num_hidden_layers": 2, "num_attention_heads": true, "head_dim": "64"}',
     '{"num_hidden_layers": "2", "num_attention_heads": 1, "kv_lora_rank": 8}'],
)  # fmt: skip
def test_a_broken_configuration_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(TandemError, match=r"config\.json .*Copy or download the model again"):
        read_model_files(str(tmp_path))


@pytest.mark.parametrize("content", ["{bad", "{}", '{"weight_map": {"a": 1}}'])
def test_a_broken_index_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(TandemError, match=r"index\.json"):
        read_model_files(str(tmp_path))
