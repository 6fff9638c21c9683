"""A training state in memory: what is loaded from it is what was saved, wherever it lay and whatever came after."""

import io
from pathlib import Path

import pytest
import torch
from pyarrow.fs import LocalFileSystem

from training.trainer.checkpoint_store import find_damage, list_checkpoints, upload_checkpoint
from training.trainer.snapshots import Snapshot, SnapshotFile

ALL, HALF, NOTHING = 1 << 30, 4_000, 0


@pytest.mark.parametrize(("budget", "num_in_memory"), [(ALL, 2), (HALF, 1), (NOTHING, 0)])
def test_a_state_is_kept_as_it_was(tmp_path: Path, budget: int, num_in_memory: int) -> None:
    (tmp_path / "local" / "state").mkdir(parents=True)
    (tmp_path / "local" / "latest").write_text("state")
    snapshot = Snapshot(tmp_path / "local", budget)
    flat = torch.arange(1500.0)
    states = [{"moments": flat, "first": flat[:20], "step": 3}, {"weights": torch.ones(100, dtype=torch.bfloat16)}]
    for number, state in enumerate(states):
        snapshot.save(state, str(tmp_path / "local" / "state" / f"rank-{number}.pt"))
    files = snapshot.files()
    assert list(files) == ["latest", "state/rank-0.pt", "state/rank-1.pt"]
    kept = [file for file in files.values() if isinstance(file, SnapshotFile)]
    assert sum(file.is_in_memory for file in kept) == num_in_memory
    assert len(list((tmp_path / "local" / "state").iterdir())) == 2 - num_in_memory
    snapshot.settle()
    flat.zero_()  # the training continues

    upload_checkpoint(files, LocalFileSystem(), str(tmp_path / "step-00000003-a"), rank=0, num_workers=1, step=3)
    (stored,) = list_checkpoints(LocalFileSystem(), str(tmp_path))
    assert find_damage(LocalFileSystem(), stored) == []
    loaded = torch.load(tmp_path / "step-00000003-a" / "state" / "rank-0.pt")
    assert loaded["moments"].tolist() == list(range(1500)) and loaded["step"] == 3
    assert loaded["first"].data_ptr() == loaded["moments"].data_ptr(), "tensors that share memory are stored once"
    assert torch.load(tmp_path / "step-00000003-a" / "state" / "rank-1.pt")["weights"].sum() == 100


def test_memory_is_given_back_while_it_is_read() -> None:
    file = SnapshotFile(Path("unused"), ALL)
    torch.save(torch.arange(5_000_000), file)
    chunks = [bytes(chunk) for chunk in file.read_chunks()]
    assert max(map(len, chunks)) == 1 << 22
    assert torch.load(io.BytesIO(b"".join(chunks))).sum() == sum(range(5_000_000))
    assert list(file.read_chunks()) == []


def test_tensors_are_copied_once_and_only_when_the_state_may_change(tmp_path: Path) -> None:
    """Of what `torch.save` gives, only memory of the state itself waits for `settle`; views of one memory are one."""
    state = {"flat": torch.arange(100_000.0), "scale": torch.tensor(3.0), "empty": torch.empty(0)}
    state["part"] = state["flat"][10:20].reshape(2, 5).T
    snapshot = Snapshot(tmp_path, ALL)
    snapshot.save(state, str(tmp_path / "rank-0.pt"))
    state["flat"] += 1  # before it is settled, a change is seen: so nothing was copied twice
    snapshot.settle()
    snapshot.settle()
    state["flat"].zero_()
    state["scale"].zero_()
    (file,) = snapshot.files().values()
    assert isinstance(file, SnapshotFile)
    loaded = torch.load(io.BytesIO(b"".join(bytes(chunk) for chunk in file.read_chunks())))
    assert torch.equal(loaded["flat"], torch.arange(100_000.0) + 1) and loaded["scale"] == 3
    assert torch.equal(loaded["part"], loaded["flat"][10:20].reshape(2, 5).T)


def test_memory_that_does_not_suffice_goes_to_the_disk_as_it_is_now(tmp_path: Path) -> None:
    """The first tensor waits to be copied when the second one spends the budget."""
    state = {"first": torch.arange(500.0), "second": torch.arange(5_000.0)}
    snapshot = Snapshot(tmp_path, 10_000)
    snapshot.save(state, str(tmp_path / "rank-0.pt"))
    for tensor in state.values():
        tensor.zero_()
    snapshot.settle()
    loaded = torch.load(tmp_path / "rank-0.pt")
    assert [tensor.sum() for tensor in loaded.values()] == [sum(range(500)), sum(range(5_000))]
