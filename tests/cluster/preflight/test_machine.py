"""Each check of one machine, with what makes it fail made real: a small disk, a taken port, a model that is cut off."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.preflight import base_model, clocks, disk_space, gpu, machine, ports, storage
from cluster.preflight.clocks import ClockOffset
from cluster.preflight.finding import Finding, run_checks
from tests.cluster.nvidia_smi import driver
from tests.cluster.s3 import s3_server

MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"
MIB = 2**20


def only(found: Iterator[Finding]) -> Finding:
    (one,) = found
    return one


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    def breaks() -> Iterator[Finding]:
        yield Finding("first", "ok", "was found before it broke")
        raise OSError(5, "Input/output error")

    def refuses() -> Iterator[Finding]:
        raise TandemError("It is not there.", "It should be.", "Put it there.")
        yield

    found = list(run_checks({"one": breaks, "two": refuses, "three": lambda: [Finding("three", "ok", "fine")]}))
    assert [(one.check, one.status) for one in found] == [
        ("first", "ok"), ("one", "failed"), ("two", "failed"), ("three", "ok")
    ]  # fmt: skip
    assert "Input/output error" in found[1].seen and found[2].remedy == "It should be. Put it there."


def test_a_fault_of_ours_is_no_finding() -> None:
    def wrong() -> Iterator[Finding]:
        assert Finding("x", "ok", "").check == "y"
        yield

    with pytest.raises(AssertionError):
        list(run_checks({"x": wrong}))


def test_storage_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    found = only(storage.check_folder(tmp_path, 4 * MIB))
    assert found.status in ("ok", "warning") and found.values["write_mib_s"] > 0 < found.values["read_mib_s"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_said_and_nothing_is_left_on_it(small_disk: Path) -> None:
    found = only(storage.check_folder(small_disk, 4 * MIB))
    assert found.status == "failed" and "No space left on device" in found.seen and "Set `storage`" in found.remedy
    assert list(small_disk.iterdir()) == []


def test_little_space_is_said_for_disks_and_for_shared_memory(small_disk: Path) -> None:
    by_check = {one.check: one for one in disk_space.check_disk_space(small_disk, shm=small_disk)}
    assert by_check["disk: storage"].status == by_check["shared memory"].status == "failed"
    assert "0.001 of 0.001 GiB free" in by_check["disk: storage"].seen
    assert "/dev/shm" in by_check["shared memory"].remedy


def test_storage_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert only(storage.check_folder(tmp_path / "file")).status == "failed"


def test_what_another_node_wrote_is_read_or_missed(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared" / "round", tmp_path / "own" / "round"
    digest = storage.leave_file(shared, "a")
    assert only(storage.look_for_files(shared, {"a": digest})).status == "ok"
    storage.leave_file(own, "b")
    found = only(storage.look_for_files(own, {"a": digest}, limit_s=0.3))
    assert found.status == "failed" and "what a wrote" in found.seen and "ReadWriteMany" in found.remedy
    (shared / "a").write_bytes(b"half")
    assert only(storage.look_for_files(shared, {"a": digest}, limit_s=0.3)).status == "failed"


def test_a_bucket_is_written_and_cleared_and_one_that_is_not_there_is_said() -> None:
    with s3_server():
        assert only(storage.check_bucket("s3://bucket/team", MIB)).status == "ok"
        assert only(storage.check_bucket("s3://missing/team", MIB)).status == "failed"
    assert "AWS_" in only(storage.check_bucket("s3://bucket/team", MIB)).remedy, "the server has gone"


def test_a_port_is_free_or_taken_or_an_endpoints() -> None:
    class Answering(BaseHTTPRequestHandler):
        said = b'{"status": "ok"}'

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.said)

        def log_message(self, *_: object) -> None:
            pass

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = only(ports.check_port({"serving.port": taken.getsockname()}))
        assert found.status == "failed" and "Address already in use" in found.seen and "ss -ltnp" in found.remedy
        address = taken.getsockname()
    assert only(ports.check_port({"serving.port": address})).status == "ok"
    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert only(ports.check_port({"serving.port": server.server_address[:2]})).status == "ok"
    Answering.said = b"<html>"
    assert only(ports.check_port({"serving.port": server.server_address[:2]})).status == "failed"
    server.shutdown()
    server.server_close()
    assert only(ports.check_port({"serving.port": ("192.0.2.99", 80)})).status == "failed", (
        "an address of another machine"
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def test_a_whole_model_is_found(copied: Path) -> None:
    found = only(base_model.check_base_model(str(copied)))
    assert found.status == "ok" and found.values["files"]["config.json"] > 0


def test_a_model_that_was_copied_in_part_is_found(copied: Path) -> None:
    weights = next(copied.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "bytes instead of" in only(base_model.check_base_model(str(copied))).seen
    weights.write_bytes(b"no")
    assert only(base_model.check_base_model(str(copied))).status == "failed"
    shard = "model-00002-of-00002.safetensors"
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": weights.name, "y": shard}}))
    assert f"{shard} is missing" in only(base_model.check_base_model(str(copied))).seen
    for file in copied.glob("tokenizer*"):
        file.unlink()
    assert "there is no tokenizer" in only(base_model.check_base_model(str(copied))).seen
    (found,) = run_checks({"model": lambda: base_model.check_base_model(str(copied / "nowhere"))})
    assert found.status == "failed" and "does not exist" in found.seen


def test_a_model_that_neither_hub_nor_cache_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    found = only(base_model.check_base_model("nobody/nothing"))
    assert found.status == "failed" and "HF_HUB_OFFLINE" in found.seen
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    found = only(base_model.check_base_model("nobody/nothing"))
    assert found.status == "failed" and "HF_TOKEN" in found.remedy


def test_clocks_are_compared_with_what_the_way_there_takes() -> None:
    """Both clocks are of the test: there and back takes two seconds at first, 0.2 seconds later."""
    now = [100.0]
    ways = iter([1.0, 0.1, 1.0])

    def ask() -> float:
        way = next(ways)
        now[0] += way
        there = now[0] + 45.0
        now[0] += way
        return there

    found = clocks.measure_offset(ask, lambda: now[0], num_asked=3)
    assert found.ahead_s == pytest.approx(45.0) and found.uncertain_s == pytest.approx(0.1)
    lines = {
        one.node: one.status
        for one in clocks.check_clocks(
            {"a": found, "b": ClockOffset(-2.0, 0.5), "c": ClockOffset(2.0, 1.5), "d": ClockOffset(0.01, 0.001)}
        )
    }
    assert lines == {"a": "failed", "b": "warning", "c": "ok", "d": "ok"}


def test_a_driver_with_gpus_that_pytorch_cannot_use_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if torch.version.cuda:
        pytest.skip("needs a CUDA GPU to be absent")
    assert only(gpu.check_gpus()).status == "ok", "no GPU is no failure"
    assert only(gpu.check_gpus(num_promised=1)).status == "failed", "Ray offers one"
    driver(tmp_path, monkeypatch, "NVIDIA H100 80GB HBM3, 81559, 4, 580.95.05, 9.0, 0, GPU-a, Disabled")
    found = only(gpu.check_gpus())
    assert found.status == "failed" and "make setup GPU=1" in found.remedy
    assert found.values["driver"][0]["memory_mib"] == 81559
    driver(tmp_path, monkeypatch, "NVIDIA-SMI has failed because it couldn't communicate with the driver", 9)
    (broken,) = run_checks({"gpu": gpu.check_gpus})
    assert broken.status == "failed" and "couldn't communicate" in broken.seen


def test_a_driver_below_the_least_is_said_whatever_pytorch_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(tmp_path, monkeypatch, "NVIDIA H100 80GB HBM3, 81559, 4, 550.54.15, 9.0, 0, GPU-a, Disabled")
    found = only(gpu.check_gpus())
    assert found.status == "failed" and "550.54.15" in found.seen and "580" in found.remedy


def test_gpus_that_pytorch_can_use_are_looked_at_more_closely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of two kinds, one of them full and with errors, as PyTorch would list them on such a machine."""
    lines = (
        "NVIDIA H100 80GB HBM3, 81559, 4, 580.95.05, 9.0, 0, GPU-a, Disabled\n"
        "NVIDIA A100-SXM4-40GB, 40960, 39000, 580.95.05, 8.0, 2, GPU-b, Disabled\n"
        "WARNING: infoROM is corrupted at gpu 0000:41:00.0"
    )
    driver(tmp_path, monkeypatch, lines)
    seen = {
        "torch": "2.13.0",
        "cuda": "13.0",
        "nccl": "2.29.7",
        "names": ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"],
    }
    monkeypatch.setattr(gpu, "torch_gpus", lambda: seen)
    found = list(gpu.check_gpus(num_promised=2))
    assert [one.check for one in found] == ["gpu memory", "gpu", "gpu", "gpu", "cuda compiler", "gpu"]
    full, mixed, warning, unsound, compiler, summary = found
    assert full.status == "warning" and "1 of 2 GPUs" in full.seen
    assert "infoROM is corrupted" in warning.seen and warning.status == "warning"
    assert "differ" in mixed.seen and "not corrected" in unsound.seen
    assert compiler.status == "warning" and "make setup GPU=1" in compiler.remedy, "this PyTorch is built for CPUs"
    assert summary.status == "ok" and "driver 580.95.05" in summary.seen


def test_all_checks_of_a_machine_run_without_a_project(tmp_path: Path) -> None:
    found = machine.check_machine(
        machine.MachineNeeds({}, storage=tmp_path, models=(str(MODEL), str(tmp_path / "nothing")))
    )
    checks = {one.check for one in found}
    assert {"python", "versions", "gpu", "storage", "model"} <= checks
    assert [one.status for one in found if one.check.startswith("model ")] == ["failed"]
