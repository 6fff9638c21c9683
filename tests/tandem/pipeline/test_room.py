"""What could not be served after a training is refused before it, for machines that are not here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.hardware import Hardware
from tandem.pipeline.room import check_adaptable, check_room, check_room_for_parity
from tandem.project.project import Project, load
from tests.serving.machines import A10, ALL, AUTOSCALED, CPU, EIGHT_H100, H200, ONE_A10, ONE_H200, node

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "hidden_size": 4096, "max_position_embeddings": 131_072,
}  # fmt: skip


def project_of(folder: Path, gigabytes: float, training: str = "", serving: str = "", **changed: object) -> Project:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({**LLAMA, **changed}))
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(int(gigabytes * 1e9))  # sparse: it takes no room
    (folder / "tandem.yaml").write_text(f"model: model\ntraining: {{{training}}}\nserving: {{{serving}}}\n")
    return load(folder / "tandem.yaml")


@pytest.mark.parametrize("hardware", ALL.values(), ids=ALL)
def test_a_small_model_and_its_adapters_fit_everywhere(tmp_path: Path, hardware: Hardware) -> None:
    project = project_of(tmp_path, 2.5)
    check_room(project, hardware)
    check_room_for_parity(project, hardware)
    check_adaptable(project)


@pytest.mark.parametrize("method", ["full", "dora"])
def test_a_whole_model_beside_its_base_is_checked_before_it_is_trained(tmp_path: Path, method: str) -> None:
    project = project_of(tmp_path, 16, f"method: {method}")
    for hardware in (CPU, ONE_H200, EIGHT_H100):
        check_room(project, hardware, merged=["tuned"])
    check_room_for_parity(project, ONE_A10)  # alone it fits
    with pytest.raises(TandemError, match=r"do not fit into the NVIDIA A10.*method: lora"):
        check_room(project, ONE_A10, merged=["tuned"])


def test_three_models_share_a_gpu_where_they_fit(tmp_path: Path) -> None:
    check_room(project_of(tmp_path, 16, "method: full"), ONE_H200, merged=["tuned", "raft", "live"])
    check_room(project_of(tmp_path, 2, "method: full"), ONE_A10, merged=["tuned", "raft"])


def test_a_cluster_that_grows_runs_as_many_engines_as_its_gpus(tmp_path: Path) -> None:
    project = project_of(tmp_path, 16, "method: full")
    check_room(project, AUTOSCALED, merged=["tuned", "raft"])
    with pytest.raises(TandemError, match="has 4 GPUs"):
        check_room(project, AUTOSCALED, merged=["a", "b", "c", "d"])


def test_the_parity_check_needs_one_engine_whatever_is_served_otherwise(tmp_path: Path) -> None:
    project = project_of(tmp_path, 16, serving="num_replicas: 4, models: {base: model, other: model}")
    check_room_for_parity(project, ONE_A10)
    with pytest.raises(TandemError, match="4 replicas"):
        check_room(project, ONE_A10)


def test_no_parity_check_needs_no_room(tmp_path: Path) -> None:
    project = project_of(tmp_path, 140)
    with pytest.raises(TandemError, match="do not fit"):
        check_room_for_parity(project, ONE_A10)
    check_room_for_parity(project_of(tmp_path, 140, "parity_tolerance: null"), ONE_A10)


@pytest.mark.parametrize("tolerance", ["auto", "null"])
def test_the_check_needs_room_for_what_is_served_of_a_base_and_its_copies(tmp_path: Path, tolerance: str) -> None:
    """Where a copy alone is served, the check on it is the only one, and it is made without a tolerance too.

    All sizes are a thousandth, because weights are read for their digest.
    """
    large, small = (Hardware((node(replace(gpu, memory_bytes=gpu.memory_bytes // 1000)),)) for gpu in (H200, A10))
    (tmp_path / "copy").mkdir()
    project_of(tmp_path, 0.07).path.rename(tmp_path / "copy" / "tandem.yaml")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).rename(tmp_path / "copy" / name)
    training = f"parity_tolerance: {tolerance}"
    only_copy = project_of(tmp_path, 0.14, training, "models: {base: copy}, copy_of: {base: model}")
    check_room_for_parity(only_copy, large)
    with pytest.raises(TandemError, match="do not fit"):
        check_room_for_parity(only_copy, small)
    check_room(only_copy, large)
    both = project_of(tmp_path, 0.14, training, "models: {base: model, fast: copy}, copy_of: {fast: model}")
    if tolerance == "null":
        check_room_for_parity(both, large)
    else:
        with pytest.raises(TandemError, match="do not fit"):
            check_room_for_parity(both, large)


def test_an_adapter_that_could_not_be_served_is_not_trained(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"GPT2LMHeadModel.*method: full"):
        check_adaptable(project_of(tmp_path, 1, architectures=["GPT2LMHeadModel"]))
    with pytest.raises(TandemError, match=r"serving\.adapters"):
        check_adaptable(project_of(tmp_path, 1, serving="adapters: false"))
    check_adaptable(project_of(tmp_path, 1, "method: full", architectures=["GPT2LMHeadModel"]))
