"""What keeps a process from the RDMA devices of its node, for described nodes and for folders that look like them."""

from pathlib import Path

import pytest

from cluster.preflight.rdma import LEAST_MEMLOCK_BYTES, Rdma, rdma_findings, read_rdma

MLX = ("mlx5_0", "mlx5_1")


@pytest.mark.parametrize(
    ("rdma", "status", "words"),
    [
        (Rdma(), None, ""),
        (Rdma((), True, None), None, ""),
        (Rdma(MLX, True, None), "ok", "mlx5_0, mlx5_1"),
        (Rdma(MLX, True, LEAST_MEMLOCK_BYTES), "ok", "mlx5_0"),
        (Rdma(MLX, True, 8 * 2**20), "warning", "may lock 8 MiB of memory"),
        (Rdma(MLX, False, None), "warning", "nothing in /dev/infiniband can be opened here"),
        (Rdma(MLX, False, 8 * 2**20), "warning", "k8s/components/rdma"),
    ],
)
def test_a_node_is_judged(rdma: Rdma, status: str | None, words: str) -> None:
    found = list(rdma_findings(rdma))
    assert [one.status for one in found] == ([status] if status else [])
    assert all(words in f"{one.seen} {one.remedy}" for one in found)


@pytest.mark.parametrize(("effective", "is_free"), [("0000000000004000", True), ("00000000a80425fb", False)])
def test_what_a_process_has_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effective: str, is_free: bool
) -> None:
    monkeypatch.setattr("cluster.preflight.rdma.resource.getrlimit", lambda _: (8 * 2**20, 8 * 2**20))
    (tmp_path / "sys/class/infiniband/mlx5_0").mkdir(parents=True)
    (tmp_path / "dev/infiniband").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text(f"Name:\tpython\nCapEff:\t{effective}\n")
    found = read_rdma(tmp_path)
    assert found.devices == ("mlx5_0",) and not found.has_verbs
    assert found.memlock_bytes == (None if is_free else 8 * 2**20)
    (tmp_path / "dev/infiniband/uverbs0").touch()
    assert read_rdma(tmp_path).has_verbs


def test_this_machine_is_read() -> None:
    found = read_rdma()
    assert found.memlock_bytes is None or found.memlock_bytes > 0
