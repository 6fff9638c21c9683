"""Checkpoints in a bucket: what was sent whole is found, what was not is not, and what was damaged is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem

from cluster.errors import TandemError
from cluster.storage.buckets import open_filesystem
from tests.cluster.s3 import store
from training.trainer.checkpoint_store import (
    find_damage,
    list_checkpoints,
    new_checkpoint_name,
    remove_unfinished,
    upload_checkpoint,
)
from training.trainer.snapshots import Snapshot


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[FileSystem, str]]:
    with store() as url:
        yield open_filesystem(f"{url}/town/train-1/checkpoints")


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "state.pt").write_bytes(bytes(range(256)) * 40_000)
    (tmp_path / "position.json").write_text("{}")
    return tmp_path


def test_checkpoints_in_a_bucket(place: tuple[FileSystem, str], shard: Path) -> None:
    filesystem, root = place
    assert list_checkpoints(filesystem, root) == []
    filesystem.create_dir(root, recursive=True)  # as Ray Train does
    names = []
    for step in (10, 20, 30):
        names.append(new_checkpoint_name(step))
        for rank in range(2 if step < 30 else 1):  # of the last one a worker was killed
            upload_checkpoint(
                Snapshot(shard, 0).files(), filesystem, f"{root}/{names[-1]}", rank=rank, num_workers=2, step=step
            )
    found = list_checkpoints(filesystem, root)
    assert [(each.step, each.num_workers, set(each.files)) for each in found] == [
        (20, 2, {"optimizer/state.pt", "position.json"}), (10, 2, {"optimizer/state.pt", "position.json"})
    ]  # fmt: skip
    assert find_damage(filesystem, found[0]) == []
    with filesystem.open_output_stream(f"{root}/{names[1]}/position.json") as stream:
        stream.write(b"[]")
    assert find_damage(filesystem, found[0]) == ["position.json has other content than was written"]
    filesystem.delete_file(f"{root}/{names[1]}/optimizer/state.pt")
    assert "optimizer/state.pt is missing" in find_damage(filesystem, found[0])
    remove_unfinished(filesystem, root)
    assert [each.step for each in list_checkpoints(filesystem, root)] == [20, 10]


def test_a_store_that_pyarrow_does_not_open_is_refused() -> None:
    with pytest.raises(TandemError, match="adl://"):
        open_filesystem("adl://bucket/x")
