"""What a training runs on, for machines that are described and not at hand."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.hardware import Hardware, Node
from tests.machines import GIB, HEAD, MACHINES, NO_GPU, gpu, node
from training.config import TrainingConfig
from training.plan.placement import (
    Placement,
    place_workers,
    resolve_workers,
    worker_environment,
    workers_device,
)


def placed(machine: str | Hardware, **settings: Any) -> tuple[int, Placement]:
    hardware = MACHINES[machine] if isinstance(machine, str) else machine
    config = resolve_workers(TrainingConfig(**settings), hardware)
    return config.workers.max, place_workers(config, hardware)


@pytest.mark.parametrize(
    ("machine", "workers", "kind", "backend", "workers_per_node", "num_nodes"),
    [
        ("no GPU", 2, "cpu", "gloo", 0, 1),
        ("1 x 24 GB", 1, "gpu", "nccl", 1, 1),
        ("1 x H200", 1, "gpu", "nccl", 1, 1),
        ("8 x H100", 8, "gpu", "nccl", 8, 1),
        ("2 x 8 x H100", 16, "gpu", "nccl", 8, 2),
        ("head over GPU nodes", 16, "gpu", "nccl", 8, 2),
        ("autoscaling to 4", 1, "gpu", "nccl", 0, 1),
    ],
)
def test_workers_are_as_many_as_the_gpus(
    machine: str, workers: int, kind: str, backend: str, workers_per_node: int, num_nodes: int
) -> None:
    number, placement = placed(machine)
    assert (number, placement.kind, placement.backend) == (workers, kind, backend)
    assert (placement.workers_per_node, placement.num_nodes) == (workers_per_node, num_nodes)


def test_automatic_workers_of_a_growing_cluster_take_the_nodes_that_are_up() -> None:
    """And no more: an autoscaler may bring a thousand GPUs."""
    assert placed(Hardware((HEAD, node(4)), max_gpus=2**31)) == (4, Placement("gpu", 1, 4, 1))
    assert placed(Hardware((HEAD, node(4)), max_gpus=16), workers=16)[0] == 16


@pytest.mark.parametrize(
    ("machine", "workers", "room"),
    [("1 x H200", 2, 1), ("8 x H100", 9, 8), ("autoscaling to 4", 5, 4), ("2 x 8 x H100", {"min": 17, "max": 20}, 16)],
)
def test_too_few_gpus_are_refused_with_what_would_do(machine: str, workers: Any, room: int) -> None:
    with pytest.raises(TandemError, match=f"training.workers: {room}`") as refused:
        placed(machine, workers=workers)
    assert "never moves to CPUs" in str(refused.value)
    assert placed(machine, workers=room)[1].kind == "gpu"
    cpu = placed(machine, workers=workers, ray_options={"use_gpu": False})[1]
    assert (cpu.kind, cpu.backend) == ("cpu", "gloo")


def test_a_range_begins_with_what_there_is() -> None:
    assert placed("8 x H100", workers={"min": 4, "max": 64})[1] == Placement("gpu", 1, 8, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_gpu": True}, "asks for GPUs, and there are none"),
        ({"resources_per_worker": {"GPU": 1}}, "asks for GPUs, and there are none"),
    ],
)
def test_gpus_that_are_asked_for_are_not_replaced_by_cpus(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TandemError, match=message):
        place_workers(TrainingConfig(ray_options=options), NO_GPU)


def test_a_worker_may_have_several_gpus_of_one_node_and_no_part_of_one() -> None:
    three = Hardware((node(3), node(3)))
    assert placed(three, ray_options={"resources_per_worker": {"GPU": 2}}) == (2, Placement("gpu", 2, 1, 2))
    with pytest.raises(TandemError, match="2 GPUs on one node"):
        placed(three, ray_options={"resources_per_worker": {"GPU": 2}}, workers=3)
    with pytest.raises(TandemError, match="whole number"):
        placed(three, ray_options={"resources_per_worker": {"GPU": 0.5}})


@pytest.mark.parametrize("number", ["1", None, "x", True, float("nan"), 0.5, -1])
def test_what_is_no_number_of_gpus_is_refused_in_words(number: Any) -> None:
    with pytest.raises(TandemError, match=r"GPUs\.|never"):
        placed("8 x H100", ray_options={"resources_per_worker": {"GPU": number}, "use_gpu": True})


def test_a_node_must_have_the_gpus_of_one_worker() -> None:
    growing = Hardware((node(1),), max_gpus=4)
    with pytest.raises(TandemError, match="no node that is up has so many"):
        placed(growing, ray_options={"resources_per_worker": {"GPU": 2}})
    with pytest.raises(TandemError, match="Up to 1"):
        placed("1 x H200", ray_options={"resources_per_worker": {"GPU": 2}})


def test_gpus_that_ray_has_given_to_others_are_left_to_them() -> None:
    """An endpoint holds one of eight: a training takes the seven others, and plans for their memory."""
    full = replace(gpu(gib=80), used_bytes=72 * GIB)
    hardware = Hardware((Node(192, 1800 * GIB, (full, *(gpu(gib=80),) * 7)),), num_taken=1)
    assert placed(hardware)[0] == 7
    device = workers_device(TrainingConfig(workers=1), Placement("gpu", 1, 1, 1), hardware)
    assert device.memory_bytes == 80 * GIB
    assert placed(hardware, workers=8)[0] == 8  # which waits until the endpoint has ended


def test_trials_at_the_same_time_share_the_gpus() -> None:
    tune = {"space": {"rank": [4, 8]}, "max_concurrent": 3}
    assert placed("8 x H100", tune=tune)[0] == 2
    assert placed("1 x H200", tune=tune)[0] == 1
    assert placed("no GPU", tune=tune)[0] == 2


@pytest.mark.parametrize(
    ("machine", "memory_gib", "host_gib"),
    [
        ("1 x H200", 139.8, 120),
        ("8 x H100", 79.6, 225),
        ("2 x 8 x H100", 79.6, 225),
        ("head over GPU nodes", 79.6, 225),
    ],
)
def test_workers_of_a_node_share_its_main_memory_wherever_the_driver_is(
    machine: str, memory_gib: float, host_gib: float
) -> None:
    hardware = MACHINES[machine]
    config = resolve_workers(TrainingConfig(), hardware)
    device = workers_device(config, place_workers(config, hardware), hardware)
    assert (device.kind, device.memory_bytes, device.host_bytes) == ("gpu", round(memory_gib * GIB), host_gib * GIB)


def test_the_smallest_gpu_and_what_others_hold_of_it_decide() -> None:
    taken = replace(gpu(gib=80), used_bytes=50 * GIB)
    mixed = Hardware((node(2, gpu(gib=80)), node(1, taken), node(1, gpu("Tesla T4", 15, (7, 5)))))
    config = TrainingConfig(workers=4)
    device = workers_device(config, place_workers(config, mixed), mixed)
    assert (device.name, device.memory_bytes, device.has_bf16) == ("Tesla T4", 15 * GIB, False)
    assert workers_device(config, Placement("gpu", 1), Hardware((node(3, taken),))).memory_bytes == 30 * GIB


def test_workers_without_gpus_see_none() -> None:
    """Ray leaves them the GPUs of their node, and DeepSpeed would take one."""
    assert worker_environment(placed("8 x H100", ray_options={"use_gpu": False})[1]) == {
        "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(placed("8 x H100")[1])


def test_workers_on_gpus_have_an_allocator_whose_segments_grow() -> None:
    placement = placed("8 x H100")[1]
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert worker_environment(placement) == order | {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    assert worker_environment(placement, {"PYTORCH_ALLOC_CONF": ""}) == worker_environment(placement)
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        own = {name: "max_split_size_mb:128"}
        environment = worker_environment(placement, {**own, "PATH": "/bin"})
        assert environment == order | own
