"""Restoring a checkpoint that is not on this node: own files alone, and one conversion for other numbers of workers."""

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from cluster.errors import TandemError
from tests.training.trainer.test_recovery import MakeJob, make_job
from training.trainer.checkpoint_store import StoredCheckpoint, list_checkpoints
from training.trainer.conversion import check_room, num_converters
from training.trainer.job import TrainingJob

__all__ = ["make_job"]
GIB = 2**30


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "method"), [(3, "lora"), pytest.param(2, "full", marks=pytest.mark.matrix)])
def test_each_rank_fetches_its_own_files_and_nothing_else(make_job: MakeJob, stage: int, method: str) -> None:
    from tests.training import gang

    job = make_job(zero_stage=stage, method=method, workers=4, dropout=0.0)
    place = gang.Place(ranks_per_node=2, is_remote=True)
    assert not gang.run(job, 4, gang.Death("step", 5), place)
    checkpoint = newest(job)
    assert gang.lines_of(job, gang.READS) == []
    assert gang.run(job, 4, place=place)
    reads = gang.lines_of(job, gang.READS)
    for rank in range(4):
        own = checkpoint.files_of(rank, with_shared=rank % 2 == 0)
        fetched = {Path(each["path"]).name: each["bytes"] for each in reads if each["rank"] == rank}
        assert fetched == {Path(name).name: size for name, (size, _) in own.items()}
    assert len(reads) == sum(len(checkpoint.files_of(rank, with_shared=rank % 2 == 0)) for rank in range(4))
    assert not list(job.folder.glob("node-*/tandem-*/fetch-*")), "what was fetched is deleted"


@pytest.mark.slow
def test_a_checkpoint_is_converted_once_for_all_nodes_and_never_half(make_job: MakeJob) -> None:
    from tests.training import gang

    steady, job = (make_job(zero_stage=3, workers={"min": 1, "max": 3}) for _ in range(2))
    assert gang.run(steady, 3)
    place = gang.Place(ranks_per_node=1, is_remote=True)
    assert not gang.run(job, 3, gang.Death("step", 5), place)
    folder = Path(newest(job).path)
    assert not gang.run(job, 2, gang.Death("convert", 0), place)
    assert not (folder / "universal.json").exists()
    assert not gang.run(job, 2, gang.Death("step", 5), place)
    assert gang.lines_of(job, gang.CONVERSIONS) == [{"rank": 0}] * 2
    assert (folder / "universal.json").exists() and len(list(folder.glob("universal-*"))) == 1
    assert gang.run(job, 2, place=place)
    assert gang.lines_of(job, gang.CONVERSIONS) == [{"rank": 0}] * 2, "what was converted is used again"
    assert gang.losses(job) == pytest.approx(gang.losses(steady), abs=1e-5)


def test_a_disk_without_room_is_named_before_anything_is_fetched(tmp_path: Path) -> None:
    check_room(tmp_path, 1)
    with pytest.raises(TandemError, match=r"takes up to 1024\.0 GiB below .* are free there") as refused:
        check_room(tmp_path / "below", 1024 * GIB)
    assert "TMPDIR" in refused.value.remedy


@pytest.mark.parametrize(
    ("cores", "host", "largest", "expected"),
    [
        (2, 16 * GIB, GIB // 1000, 2),
        (192, 1800 * GIB, 123 * GIB, 7),  # a worker's shard of 70B full on 8 GPUs
        (192, 1800 * GIB, 4 * GIB, 192),
        (8, 4 * GIB, 60 * GIB, 1),
    ],
)
def test_as_many_converters_as_cores_and_memory_allow(cores: int, host: int, largest: int, expected: int) -> None:
    assert num_converters(cores, host, largest) == expected


def newest(job: TrainingJob) -> StoredCheckpoint:
    return list_checkpoints(LocalFileSystem(), str(job.folder / "checkpoints"))[0]
