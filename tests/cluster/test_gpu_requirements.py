"""What is refused before work starts on described GPUs, and what is only said."""

import re

import pytest

from cluster.errors import TandemError
from cluster.gpu_requirements import CUDA, LEAST_CAPABILITY, LEAST_DRIVER, check_gpus_usable, driver_is_old
from cluster.hardware import Gpu, Hardware, Node
from tests.machines import MACHINES
from tests.requirements.test_setup import pins

GIB = 2**30
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, (9, 0), "580.95.05", 500 * 2**20)
L4 = Gpu("NVIDIA L4", 24 * GIB, (8, 9), "580.95.05")


def machine(*gpus: Gpu) -> Hardware:
    return Hardware((Node(8, 64 * GIB, gpus),))


def like(gpu: Gpu, **changes: object) -> Gpu:
    return Gpu(**{**gpu.__dict__, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("hardware", [*MACHINES.values(), machine(Gpu("NVIDIA GB10", 120 * GIB))])
def test_machines_that_will_do(hardware: Hardware) -> None:
    assert check_gpus_usable(hardware) == ()
    assert check_gpus_usable(hardware, "bf16") == ()


@pytest.mark.parametrize(
    ("driver", "max_cuda", "is_old"),
    [
        ("580.65.06", (0, 0), False), ("595.10", (0, 0), False), ("", (0, 0), False), ("580.65.06", (13, 0), False),
        ("570.86.15", (0, 0), True), ("535.230.02", (0, 0), True), ("470.82.01", (11, 4), True),
        ("550.54.15", (13, 0), False), ("580.65.06", (12, 9), True),
    ],
)  # fmt: skip
def test_a_driver_below_the_least_is_refused_but_not_with_a_newer_library(
    driver: str, max_cuda: tuple[int, int], is_old: bool
) -> None:
    gpu = like(H100, driver=driver, max_cuda=max_cuda)
    assert driver_is_old(gpu) == is_old
    if is_old:
        with pytest.raises(TandemError, match=f"driver is {re.escape(driver)}") as refused:
            check_gpus_usable(Hardware((Node(8, GIB, (H100,)), Node(8, GIB, (gpu,)))))
        assert str(LEAST_DRIVER) in refused.value.accepted and "cuda-compat-13-0" in refused.value.remedy


def test_the_node_of_the_fault_is_named_where_there_are_several() -> None:
    old = like(H100, driver="570.86.15")
    nodes = (Node(8, GIB, (H100,), address="10.0.0.1"), Node(8, GIB, (old,), address="10.0.0.2"))
    with pytest.raises(TandemError, match=r"driver of 10\.0\.0\.2 is 570"):
        check_gpus_usable(Hardware(nodes))


@pytest.mark.parametrize("capability", [(5, 2), (6, 1), (7, 0)])
def test_a_gpu_that_pytorch_has_no_code_for_is_refused(capability: tuple[int, int]) -> None:
    with pytest.raises(TandemError, match=rf"compute capability {capability[0]}\.{capability[1]}") as refused:
        check_gpus_usable(machine(like(H100, name="Tesla V100", capability=capability)))
    assert "CUDA_VISIBLE_DEVICES" in refused.value.remedy and "7.5" in refused.value.accepted


def test_a_gpu_without_bf16_works_in_fp32() -> None:
    t4 = like(L4, name="Tesla T4", capability=LEAST_CAPABILITY)
    (said,) = check_gpus_usable(machine(t4))
    assert "fp32" in said and "Tesla T4" in said
    assert check_gpus_usable(machine(t4), "fp32") == ()
    with pytest.raises(TandemError, match=r"training.precision is bf16") as refused:
        check_gpus_usable(machine(t4), "bf16")
    assert "fp32" in refused.value.remedy


def test_gpus_of_several_kinds_are_said() -> None:
    (said,) = check_gpus_usable(machine(H100, H100, L4))
    assert "2 x NVIDIA H100 80GB HBM3 (80 GiB)" in said and "1 x NVIDIA L4 (24 GiB)" in said
    half = like(H100, memory_bytes=40 * GIB)
    assert check_gpus_usable(machine(H100, half)), "the same name with half of the memory"


def test_memory_of_other_processes_is_refused_but_for_what_ray_has_given_away() -> None:
    full = like(H100, used_bytes=40 * GIB)
    with pytest.raises(TandemError, match=r"1 of 2 GPUs: 40\.0 of 80\.0 GiB") as refused:
        check_gpus_usable(machine(H100, full))
    assert "nvidia-smi" in refused.value.remedy and "90%" in refused.value.accepted
    assert check_gpus_usable(machine(H100, full), num_taken=1) == ()
    assert check_gpus_usable(machine(H100, full), share=0.5) == (), "half of it will do"
    with pytest.raises(TandemError, match="2 of 2 GPUs"):
        check_gpus_usable(machine(full, full), num_taken=1)


def test_a_desktop_is_no_other_work() -> None:
    assert check_gpus_usable(machine(like(L4, memory_bytes=8 * GIB, used_bytes=GIB))) == ()


def test_a_divided_gpu_without_instances_is_refused() -> None:
    with pytest.raises(TandemError, match="divided") as refused:
        check_gpus_usable(machine(like(H100, name="NVIDIA H100 (MIG)", memory_bytes=0)))
    assert "mig -cgi" in refused.value.remedy


@pytest.mark.parametrize(
    "broken", [like(L4, memory_bytes=0, fault="GPU is lost"), like(L4, fault="GPU requires reset")]
)
def test_a_broken_gpu_is_refused_with_what_to_do(broken: Gpu) -> None:
    with pytest.raises(TandemError, match=f"NVIDIA L4 is broken: .*{broken.fault}") as refused:
        check_gpus_usable(machine(H100, broken))
    assert "reset" in refused.value.remedy and "CUDA_VISIBLE_DEVICES" in refused.value.remedy
    with pytest.raises(TandemError, match="is broken"):
        check_gpus_usable(machine(like(L4, memory_bytes=0)))


def test_what_the_driver_says_beside_its_gpus_is_said_with_its_node() -> None:
    remark = "WARNING: infoROM is corrupted at gpu 0000:41:00.0"
    nodes = (Node(8, GIB, (H100,), address="a"), Node(8, GIB, (H100,), address="b", remarks=(remark,)))
    assert check_gpus_usable(Hardware(nodes)) == (f"nvidia-smi on b says beside its GPUs: {remark}.",)
    assert check_gpus_usable(Hardware(nodes[1:])) == (f"nvidia-smi says beside its GPUs: {remark}.",)


def test_errors_of_memory_are_said() -> None:
    (said,) = check_gpus_usable(machine(H100, like(H100, num_errors=3)))
    assert said.startswith("1 GPUs have memory errors")


def test_the_requirements_are_those_of_the_lock() -> None:
    assert pins("gpu")["cuda-toolkit"].startswith(f"{CUDA}."), "look up its least driver and its oldest GPU"
