"""Many rows: encoded in processes as in one, kept on the disk, and their repeats found as datasketch finds them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketch import MinHashLSH

from cluster.errors import TandemError
from cluster.fingerprints.minhash import minhash, minhash_many, similarity
from cluster.full_disk import DiskFull
from training.config import TrainingConfig
from training.data import answer_masks
from training.data.data_check import check_training_data
from training.data.disk_lists import DiskBytes, DiskList, Joined, Selection
from training.data.duplicates import find_duplicates, row_minhash, row_shingles
from training.data.encoding import encode
from training.data.encoding.encode import Encoding, encode_in_chunks
from training.data.progress import RowProgress
from training.data.rows import read_rows

WORDS = ["".join(random.Random(number).choices("abcdefghij", k=4)) for number in range(300)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def random_rows(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of 3 to 30 words, among them exact repeats and near ones."""
    draw, rows = random.Random(seed), list[dict[str, Any]]()
    for _ in range(number):
        if rows and draw.random() < 0.4:
            row = draw.choice(rows)
            words = row["completion"].split()
            for place in range(draw.choice([0, 0, 1, 1, 2])):
                words[-1 - place] = draw.choice(WORDS)
            rows.append({"prompt": row["prompt"], "completion": " ".join(words)})
        else:
            prompt, answer = (" ".join(draw.choices(WORDS, k=draw.randint(3, most))) for most in (6, 30))
            rows.append({"prompt": prompt, "completion": answer})
    return rows


def test_processes_encode_as_one_does_and_in_order(
    tmp_path: Path, make_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_rows(TrainingConfig(data=write(tmp_path / "rows.jsonl", random_rows(60)))).rows
    encoding = Encoding(make_tokenizer(), max_tokens=150, with_marks=True)
    monkeypatch.setattr(encode, "CHUNK_ROWS", 7)
    alone = list(encode_in_chunks(rows, encoding))
    monkeypatch.setattr(encode, "count_processes", lambda num_rows: 2)
    shared = list(encode_in_chunks(rows, encoding))
    assert len(alone) == len(shared) == 9
    assert [chunk_as_lists(chunk) for chunk in alone] == [chunk_as_lists(chunk) for chunk in shared]
    assert any(isinstance(result, encode.Refusal) for chunk in alone for result in chunk.results)


def chunk_as_lists(chunk: encode.EncodedChunk) -> Any:
    results = [
        result if isinstance(result, encode.Refusal)
        else [(each.token_ids.tolist(), each.is_answer.tolist()) for each in result]
        for result in chunk.results
    ]  # fmt: skip
    assert chunk.marks
    return results, chunk.marks.digests.tolist(), chunk.marks.bands.tolist()


def test_a_process_that_is_killed_is_said(tmp_path: Path, make_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_rows(TrainingConfig(data=write(tmp_path / "rows.jsonl", random_rows(40)))).rows
    monkeypatch.setattr(encode, "CHUNK_ROWS", 1)
    monkeypatch.setattr(encode, "count_processes", lambda num_rows: 2)
    chunks = encode_in_chunks(rows, Encoding(make_tokenizer()))
    next(chunks)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    mine = [pid for pid in children if b"training.data.encoding.process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(mine) == 2
    os.kill(int(mine[0]), signal.SIGKILL)
    with pytest.raises(TandemError, match=r"ended early \(signal 9\)"):
        list(chunks)
    assert not any(Path(f"/proc/{pid}").exists() for pid in mine)


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_those_that_datasketch_finds(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "rows.jsonl", random_rows(250, seed))
    rows = list(read_rows(TrainingConfig(data=path)).rows)
    found = [(each.where, each.like, each.similarity) for each in find_duplicates(rows[:200], rows[200:])]
    assert found == repeats_by_datasketch(rows) and len(found) > 20


def repeats_by_datasketch(rows: list[Any]) -> list[tuple[str, str, float]]:
    """The search as it was written before, with datasketch's own index."""
    first: dict[str, Any] = {}
    exact = [(row.where, first[row.digest].where, 1.0) for row in rows if first.setdefault(row.digest, row) is not row]
    index, near, seen = MinHashLSH(threshold=0.8, num_perm=128), list[tuple[str, str, float]](), set[str]()
    for number, row in enumerate(rows):
        if row.digest in seen:
            continue
        seen.add(row.digest)
        signature, mine = row_minhash(row), row_shingles(row)
        alike = [(similarity(mine, row_shingles(rows[other])), -other) for other in index.query(signature)]
        best, negated = max(alike, default=(0.0, 0))
        if best < 0.8:
            index.insert(number, signature)
        else:
            near.append((row.where, rows[-negated].where, round(best, 3)))
    return exact + near


def test_many_minhashes_are_those_of_datasketch() -> None:
    draw = random.Random(1)
    sets = [
        {"".join(draw.choices("aé价\U0001f9c0 ", k=9)) for _ in range(draw.choice([0, 1, 5, 600]))} for _ in range(30)
    ]
    many = minhash_many(sets, 64)
    assert many.dtype == np.uint32
    for shingles, numbers in zip(sets, many, strict=True):
        assert numbers.tolist() == minhash(shingles, 64).hashvalues.tolist()


def test_the_backend_gives_the_tokens_of_the_tokenizer(make_tokenizer: Any) -> None:
    tokenizer, draw = make_tokenizer(), random.Random(2)
    pieces = ["<|end|>", "<s>", " ", "\n", "word", "é", "价", "\U0001f9c0", "<|", "\u0000", "￿"]
    for _ in range(200):
        text = "".join(draw.choices(pieces, k=draw.randrange(12)))
        assert answer_masks._tokenize(tokenizer, text) == tokenizer(text, add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.enable_truncation(2)
    assert len(answer_masks._tokenize(tokenizer, "a longer text")) == 13


def test_lists_on_disk_are_lists() -> None:
    items = [{"n": number, "text": "x" * (number % 7 * 5000)} for number in range(300)]
    kept = DiskList(items[:250])
    assert kept[3] == items[3] and kept[-1] == items[249] and list(kept) == items[:250]
    for item in items[250:]:
        kept.append(item)
    assert list(kept[10:20]) == items[10:20] and list(kept[::-1]) == items[::-1]
    assert random.Random(0).sample(kept, 5) == random.Random(0).sample(items, 5)
    both = Joined(Selection(kept, [5, 2]), kept[:1])
    assert list(both) == [items[5], items[2], items[0]] and both[2] == both[-1] == items[0] and len(both) == 3
    with pytest.raises(IndexError):
        kept[300]


def test_a_full_disk_of_temporary_files_is_said_as_any_full_disk() -> None:
    kept = DiskBytes()
    kept._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(DiskFull, match="A disk is full") as error:
        kept.append(bytes(2**19))
    assert "TMPDIR" in error.value.remedy


def test_a_row_of_twenty_megabytes_is_refused_after_its_first_part(tmp_path: Path, model_folder: Path) -> None:
    rows = [{"prompt": "Hi", "completion": "Yo"}, {"prompt": "Hi", "completion": "y " * 10_000_000}]
    config = TrainingConfig(data=write(tmp_path / "rows.jsonl", rows), sequence_length=64, held_out=0)
    checked = check_training_data(config, str(model_folder))
    assert [bad.reason for bad in checked.bad] == ["more than 2048 tokens long, and at most 64 are accepted"]
    assert (checked.num_trained, checked.truncation.num_rows, checked.truncation.num_tokens) == (1, 1, 1984)


PAIRS = [{"prompt": "Hi", "chosen": "y" * 40, "rejected": "n" * 30}, {"prompt": "Hi", "chosen": "y", "rejected": "n"}]


@pytest.mark.parametrize("packing", [True, False])
def test_a_pair_longer_than_a_forward_pass_is_a_bad_row(tmp_path: Path, model_folder: Path, packing: bool) -> None:
    path = write(tmp_path / "rows.jsonl", PAIRS)
    config = TrainingConfig(
        data=path, objective="dpo", sequence_length=64, micro_batch_size=1, packing=packing, held_out=0
    )
    (bad,) = check_training_data(config, str(model_folder)).bad
    assert bad.where == f"{path}:1" and "have 84 tokens, and a forward pass takes 64" in bad.reason
    assert check_training_data(config.model_copy(update={"micro_batch_size": 2}), str(model_folder)).bad == ()


def test_a_source_of_which_no_row_is_drawn_is_named(tmp_path: Path, model_folder: Path) -> None:
    small, large = (write(tmp_path / name, random_rows(number)) for name, number in (("small", 3), ("large", 9)))
    sources = [{"path": small, "weight": 0.1}, {"path": large}]
    config = TrainingConfig.model_validate({"data": sources, "held_out": 0})
    with pytest.raises(TandemError, match=rf"No epoch draws any row of {small} \(weight 0.1, 3 rows\)"):
        check_training_data(config, str(model_folder))


def test_progress_is_said_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = iter([0.0, 1.0, 3.0, 3.1, 4.0]), list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = RowProgress(said.append, "encoding", 10_000)
    for _ in range(4):
        progress.advance(1000)
    assert said == [
        "encoding: 2,000 of 10,000 rows, 667 rows/s, 12 s left",
        "encoding: 4,000 of 10,000 rows, 1,000 rows/s, 6 s left",
    ]  # fmt: skip


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Rows are read once more by a process of its own, whose memory is measured."""
    code = (
        "import resource, sys\nfrom training.config import TrainingConfig\nfrom training.data.rows import read_rows\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "report = read_rows(TrainingConfig(data=sys.argv[1]))\n"
        "print(len(report.rows), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"prompt": "Hi", "completion": "word " * 2000}) + "\n"
    path.write_text(line * 8000)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    num_rows, kib = map(int, done.stdout.split())
    assert num_rows == 8000 and kib < 40_000, "the file has 80 MB"
