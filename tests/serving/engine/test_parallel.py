"""How many GPUs an engine takes, and where."""

import ast
from typing import Any

import pytest

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.engine.engine_args import known_engine_arguments
from serving.engine.lora_support import models_folder
from serving.engine.parallel import (
    MULTIPLYING,
    REFUSED,
    WITHIN,
    check_parallel,
    check_placement,
    gpu_placement,
    num_devices,
)
from tests.serving.machines import (
    ALL,
    AUTOSCALED,
    CPU,
    EIGHT_H100,
    H100,
    HEAD_WITHOUT_GPUS,
    TWO_NODES,
    Hardware,
    node,
)


def sized(tensor: int = 1, pipeline: int = 1, context: int = 1, **changed: Any) -> ServingConfig:
    return ServingConfig(engine_kwargs=dict(zip(MULTIPLYING, (tensor, pipeline, context), strict=True)), **changed)


def parallel_arguments() -> set[str]:
    """The engine arguments that are fields of vLLM's ParallelConfig, or begin like one."""
    folder = models_folder()
    assert folder is not None
    tree = ast.parse((folder.parents[1] / "config" / "parallel.py").read_text())
    fields = {
        line.target.id
        for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "ParallelConfig"
        for line in node.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }  # fmt: skip
    return {name for name in known_engine_arguments() if name in fields or name.startswith("data_parallel")}


def test_every_parallel_argument_of_vllm_is_accounted_for() -> None:
    named = parallel_arguments()
    assert len(named) > 30
    assert {name for name in named if not name.startswith("_")} <= {*MULTIPLYING, *WITHIN, *REFUSED}
    assert not WITHIN & {*MULTIPLYING, *REFUSED}


@pytest.mark.parametrize("name", sorted(parallel_arguments()))
def test_no_argument_that_is_accepted_changes_the_number_of_gpus_without_the_bundles(name: str) -> None:
    config = ServingConfig(engine_kwargs={name: 2})
    if name in REFUSED or name.startswith("_"):
        with pytest.raises(TandemError, match=name):
            check_parallel(config)
        return
    check_parallel(config)
    bundles, _ = gpu_placement(config, EIGHT_H100)
    assert sum(bundle["GPU"] for bundle in bundles) == num_devices(config) == (2 if name in MULTIPLYING else 1)


def test_data_parallel_is_refused_with_what_to_set_instead() -> None:
    with pytest.raises(TandemError, match=r"data_parallel_size to 2.*num_replicas"):
        check_parallel(ServingConfig(engine_kwargs={"data_parallel_size": 2}))
    check_parallel(ServingConfig(engine_kwargs={"data_parallel_size": 1}))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True, None])
def test_a_size_is_a_whole_number(wrong: object) -> None:
    with pytest.raises(TandemError, match="tensor_parallel_size"):
        check_parallel(ServingConfig(engine_kwargs={"tensor_parallel_size": wrong}))


@pytest.mark.parametrize(
    ("hardware", "config", "strategy"),
    [
        (EIGHT_H100, sized(8), "STRICT_PACK"),
        (EIGHT_H100, sized(4, 2), "STRICT_PACK"),
        (TWO_NODES, sized(8), "STRICT_PACK"),
        (TWO_NODES, sized(8, 2), "PACK"),
        (HEAD_WITHOUT_GPUS, sized(8, 2), "PACK"),
        (AUTOSCALED, sized(4), "STRICT_PACK"),
        (AUTOSCALED, sized(2, 2), "PACK"),
        (TWO_NODES, sized(16, tensor_parallel_across_nodes=True), "PACK"),
    ],
)
def test_a_tensor_parallel_group_stays_on_a_node(hardware: Hardware, config: ServingConfig, strategy: str) -> None:
    check_placement(config, hardware)
    bundles, chosen = gpu_placement(config, hardware)
    assert chosen == strategy
    assert sum(bundle["GPU"] for bundle in bundles) == num_devices(config)
    assert [bundle.get("CPU", 0) for bundle in bundles].count(1.0) == 1, "the replica itself"


@pytest.mark.parametrize(
    ("hardware", "config", "remedy"),
    [
        (TWO_NODES, sized(16), "tensor_parallel_size to 8 and pipeline_parallel_size to 2"),
        (HEAD_WITHOUT_GPUS, sized(16), "tensor_parallel_across_nodes"),
        (TWO_NODES, sized(6, 2), "divides the GPUs of every node"),
        (Hardware((node(*[H100] * 4), node(*[H100] * 8))), sized(8, 2), "divides"),
    ],
)
def test_a_group_over_two_nodes_is_refused(hardware: Hardware, config: ServingConfig, remedy: str) -> None:
    with pytest.raises(TandemError, match=remedy):
        check_placement(config, hardware)


@pytest.mark.parametrize("hardware", ALL.values(), ids=ALL)
def test_one_device_is_placed_anywhere(hardware: Hardware) -> None:
    check_placement(ServingConfig(), hardware)
    bundles, _ = gpu_placement(ServingConfig(), hardware)
    assert bundles == [{"CPU": 1.0} if hardware is CPU else {"CPU": 1.0, "GPU": 1.0}]
