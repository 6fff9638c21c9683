"""GPUs as drivers describe them, and what CUDA_VISIBLE_DEVICES leaves of them by CUDA's own rules."""

from pathlib import Path

import pytest

from cluster import hardware, nvidia_smi
from cluster.errors import TandemError
from cluster.hardware import (
    MIB,
    Gpu,
    Hardware,
    Node,
    _describe,
    container_free_bytes,
    driver_gpus,
    read_gpus,
    read_node,
    visible_gpus,
)
from cluster.nvidia_smi import parse_instances, parse_rows
from tests.cluster.nvidia_smi import XML, driver
from tests.machines import H200, MACHINES

H100 = "NVIDIA H100 80GB HBM3, 81559, 4, 580.95.05, 9.0, 0, GPU-aaaa1111-0000, Disabled"
A10 = "NVIDIA A10, 23028, 512, 580.95.05, 8.6, 0, GPU-bbbb2222-0000, [N/A]"


def parse_gpus(lines: str, mig: str = "") -> list[tuple[str, Gpu]]:
    """The UUID and the GPU of each row that `nvidia-smi` prints; `mig` holds the instances of divided GPUs."""
    instances = parse_instances(mig) if mig else {}
    return [(row.uuid, _describe(row, instances)) for row in parse_rows(lines)[0]]


LOST = "Unable to determine the device handle for GPU0000:41:00.0: GPU is lost.  Reboot the system to recover this GPU"
REMARKS = [
    "WARNING: infoROM is corrupted at gpu 0000:41:00.0",
    "Unable to determine, of one, two and three, a handle",
    LOST,
]


def parse_gpu(line: str) -> Gpu:
    ((_, gpu),) = parse_gpus(line)
    return gpu


def names(variable: str | None) -> str:
    """The letters of four GPUs that the variable leaves."""
    listed = [(f"GPU-{letter * 4}-0", Gpu(letter, 1)) for letter in "abcd"]
    return "".join(gpu.name for gpu in visible_gpus(listed, variable))


def test_a_line_of_the_driver() -> None:
    gpu = parse_gpu(H100)
    assert gpu == Gpu("NVIDIA H100 80GB HBM3", 81559 * MIB, (9, 0), "580.95.05", 4 * MIB)
    assert gpu.has_bf16 and not gpu.is_divided


@pytest.mark.parametrize("word", ["[N/A]", "N/A", "[Not Supported]"])
def test_what_a_driver_does_not_know_is_not_known(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "available_bytes", lambda: 7)
    gpu = parse_gpu(f"NVIDIA GB10, {word}, {word}, {word}, {word}, {word}, {word}, {word}")
    assert gpu == Gpu("NVIDIA GB10", 7), "it shares the machine's memory"
    assert gpu.has_bf16, "a capability that is not known is taken for a new one"


@pytest.mark.parametrize(
    "word",
    ["[GPU is lost]", "GPU is lost", "[Unknown Error]", "[GPU requires reset]", "[Insufficient Permissions]", ""],
)
def test_a_gpu_whose_memory_cannot_be_read_has_a_fault_and_none_of_the_machines_memory(word: str) -> None:
    assert parse_gpu(f"NVIDIA A10, {word}, {word}, 580.95.05, 8.6, {word}, GPU-a, {word}") == Gpu(
        "NVIDIA A10", 0, (8, 6), "580.95.05", fault=word.strip("[]") or "nothing"
    )


def test_a_gpu_that_must_be_reset_has_a_fault_whatever_else_can_be_read() -> None:
    assert parse_gpu(A10.replace("8.6, 0", "8.6, [GPU requires reset]")).fault == "GPU requires reset"
    assert parse_gpu(A10.replace("8.6, 0", "8.6, [Unknown Error]")).fault == "", "errors that are not counted"
    divided = H100.replace("Disabled", "Enabled")
    ((_, gpu),) = parse_gpus(divided.replace("81559", "[Insufficient Permissions]"), XML)
    assert (gpu.fault, gpu.memory_bytes) == ("", 9856 * MIB), "an instance's own memory can be read"
    ((_, gpu),) = parse_gpus(divided.replace("81559", "[GPU is lost]"), XML)
    assert gpu.fault == "GPU is lost"


def test_an_old_driver_has_no_word_for_the_capability() -> None:
    assert parse_gpu("Tesla V100-SXM2-16GB, 16160, 0, 470.82.01") == Gpu(
        "Tesla V100-SXM2-16GB", 16160 * MIB, driver="470.82.01"
    )


def test_a_divided_gpu_has_the_memory_of_its_smallest_instance() -> None:
    divided = H100.replace("Disabled", "Enabled")
    (uuid, gpu), (_, whole) = parse_gpus(f"{divided}\n\n{A10}\n", XML)
    assert (uuid, gpu.memory_bytes, gpu.used_bytes) == ("GPU-aaaa1111-0000", 9856 * MIB, 12 * MIB)
    assert gpu.is_divided and not whole.is_divided
    ((_, none),) = parse_gpus(divided.replace("aaaa1111", "cccc3333"), XML)
    assert none.memory_bytes == 0, "no instance, no memory"
    listed = parse_gpus(f"{divided}\n{A10}", XML)
    assert visible_gpus(listed, "MIG-0aaa,MIG-0bbb") == (gpu, gpu)
    assert visible_gpus(listed, "1,MIG-0bbb") == (whole, gpu)
    assert visible_gpus(parse_gpus(A10), "MIG-0aaa") == (), "nothing is divided"


@pytest.mark.parametrize(
    ("variable", "left"),
    [
        (None, "abcd"), ("", ""), ("0", "a"), ("3,1", "db"), (" 2 , 0 ", "ca"), ("-1", ""), ("none", ""),
        ("NoDevFiles", ""), ("void", ""), ("0,-1,2", "a"), ("1,7,2", "b"), ("4", ""), ("0,0", ""), ("1,2,1", ""),
        ("GPU-cccc", "c"), ("GPU-bbbb-0,GPU-aaaa-0", "ba"), ("GPU-", ""), ("GPU-zzzz", ""), ("GPU-bbbb,1", ""),
        ("0,GPU-dddd", "ad"), ("0,,2", "a"), ("1 2", ""),
    ],
)  # fmt: skip
def test_the_variable_leaves_what_cuda_sees(variable: str | None, left: str) -> None:
    assert names(variable) == left


def test_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, f"{H100}\n{A10}")
    assert [gpu.name for gpu in read_gpus()] == ["NVIDIA H100 80GB HBM3", "NVIDIA A10"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb2222")
    assert [gpu.name for gpu in read_gpus()] == ["NVIDIA A10"]
    assert len(driver_gpus()) == 2, "whatever this process may use"


def test_a_divided_gpu_is_asked_for_its_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, H100.replace("Disabled", "Enabled"))
    assert [gpu.memory_bytes for gpu in read_gpus()] == [9856 * MIB]


def test_a_driver_that_lacks_a_field_is_asked_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "Tesla V100, 16160, 0, 470.82.01", refused="compute_cap")
    (gpu,) = read_gpus()
    assert (gpu.driver, gpu.memory_bytes) == ("470.82.01", 16160 * MIB)


@pytest.mark.parametrize("said", ["No devices were found", "No devices found."])
@pytest.mark.parametrize("status", [0, 6])
def test_a_driver_without_devices_has_no_gpus(
    said: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(tmp_path, monkeypatch, said, status)
    assert read_gpus() == ()


@pytest.mark.parametrize("status", [0, 14])
@pytest.mark.parametrize("remark", REMARKS)
def test_a_line_that_describes_no_gpu_is_kept_as_a_remark(
    remark: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lines in (f"{H100}\n{A10}\n{remark}", f"{remark}\n{H100}\n{A10}", f"{H100}\n{remark}\n{remark}\n{A10}"):
        driver(tmp_path, monkeypatch, lines, status)
        node = read_node()
        assert [gpu.name for gpu in node.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA A10"]
        assert node.remarks == (remark,)


def test_a_failure_beside_gpus_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, A10, status=15)
    assert read_node().remarks == ("it ended with exit code 15",)


@pytest.mark.parametrize("end", ["", "\nNo devices were found"])
@pytest.mark.parametrize("status", [0, 6, 15])
def test_a_machine_whose_only_gpu_is_lost_is_not_one_without_gpus(
    end: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(tmp_path, monkeypatch, LOST + end, status)
    with pytest.raises(TandemError, match="GPU is lost"):
        read_gpus()


def test_a_driver_that_does_not_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, A10)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(nvidia_smi, "SMI_S", 0.2)
    with pytest.raises(TandemError, match=r"did not answer within 0\.2 seconds"):
        read_gpus()
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF")
    with pytest.raises(TandemError, match="does not start"):
        read_gpus()


@pytest.mark.parametrize(("xml", "status"), [("", 0), ("Insufficient Permissions", 4), (XML[:300], 15)])
def test_instances_that_are_not_listed_are_refused(
    xml: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided = H100.replace("Disabled", "Enabled")
    driver(tmp_path, monkeypatch, divided, xml=xml, xml_status=status)
    with pytest.raises(TandemError, match=f"does not list them.* exit code {status}"):
        read_gpus()
    driver(tmp_path, monkeypatch, divided, xml=f"{XML}\n{REMARKS[0]}", xml_status=14)
    assert [gpu.memory_bytes for gpu in read_gpus()] == [9856 * MIB], "a warning after it"


def test_a_driver_that_fails_is_refused_if_a_gpu_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    asked = driver(tmp_path, monkeypatch, said, status=9)
    with pytest.raises(TandemError, match="couldn't communicate") as refused:
        read_gpus()
    assert "CUDA_VISIBLE_DEVICES" in refused.value.remedy
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = asked.read_text()
    assert read_gpus() == () and asked.read_text() == before, "not even asked"


def test_a_machine_without_a_driver_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert driver_gpus() == ()


@pytest.mark.parametrize(
    ("machine", "kind", "num", "most"),
    [
        ("no GPU", "cpu", 0, 0),
        ("1 x 24 GB", "gpu", 1, 1),
        ("1 x H200", "gpu", 1, 1),
        ("8 x H100", "gpu", 8, 8),
        ("2 x 8 x H100", "gpu", 16, 16),
        ("head over GPU nodes", "gpu", 16, 16),
        ("autoscaling to 4", "gpu", 0, 4),
    ],
)
def test_what_the_machines_have(machine: str, kind: str, num: int, most: int) -> None:
    described = MACHINES[machine]
    assert (described.kind, described.num_gpus, described.most_gpus) == (kind, num, most)
    assert (described.smallest_gpu is None) == (num == 0)
    assert len(described.gpu_nodes) == sum(1 for node in described.nodes if node.gpus)


def test_the_smallest_gpu_and_the_oldest_decide() -> None:
    old = Gpu("Tesla T4", 15 * 2**30, (7, 5))
    mixed = Hardware((Node(8, 1, (H200,)), Node(8, 1, (old, H200))))
    assert mixed.smallest_gpu == old and not mixed.has_bf16
    assert Hardware((Node(8, 1, (H200,), cpu_has_bf16=False),)).has_bf16
    assert not Hardware((Node(8, 1, cpu_has_bf16=False),)).has_bf16


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 250\n")
    assert container_free_bytes(tmp_path) == 550
    (tmp_path / "memory.max").write_text("450\n")
    assert container_free_bytes(tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert container_free_bytes(tmp_path) is None
    assert container_free_bytes(tmp_path / "none") is None
