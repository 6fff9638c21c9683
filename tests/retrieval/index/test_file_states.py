"""Which files a watch need not read: never one whose content is another."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval.index import file_states
from retrieval.index.file_states import FileStates
from retrieval.index.report import Failure
from retrieval.sources.config import FolderSource
from retrieval.sources.folders.file_systems import Mounts
from retrieval.sources.folders.listing import folder_documents


class Clock:
    """Stands at a time until it is set to another."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(file_states, "time", SimpleNamespace(monotonic=clock, time=time.time))
    return clock


@pytest.fixture
def states() -> Iterator[FileStates]:
    kept = FileStates()
    yield kept
    kept.close()


def look(states: FileStates, folder: Path, contents: dict[str, str]) -> int:
    """Bring `contents` up to date with a folder; returns how many files were read."""
    states.begin()
    num_read, listed = 0, set()
    for document in folder_documents(FolderSource(path=folder), ""):
        assert document.path
        listed.add(document.source)
        if document.source not in contents or states.settled(str(document.path), document.signature) is None:
            contents[document.source] = document.version()
            states.note(str(document.path), document.signature)
            num_read += 1
    for name in contents.keys() - listed:
        del contents[name]
    states.commit()
    return num_read


def test_a_file_is_read_again_until_its_times_can_tell(tmp_path: Path, states: FileStates, clock: Clock) -> None:
    (tmp_path / "a.md").write_text("text")
    contents: dict[str, str] = {}
    for after_s, num_read in [(0.0, 1), (0.5, 1), (1.0, 1), (2.5, 1), (0.1, 0), (100.0, 0), (90_000.0, 1), (1.0, 0)]:
        clock.now += after_s
        assert look(states, tmp_path, contents) == num_read


def test_a_file_that_has_long_stood_still_is_read_once(tmp_path: Path, states: FileStates, clock: Clock) -> None:
    (tmp_path / "a.md").write_text("text")
    state = (tmp_path / "a.md").stat()
    old = f"1:2:{state.st_size}:{state.st_mtime_ns}:{state.st_ctime_ns - 3600 * 10**9}"
    states.note("/a.md", old)
    states.commit()
    assert states.settled("/a.md", old) == []


def test_what_is_not_committed_is_not_remembered(states: FileStates, clock: Clock) -> None:
    states.note("/a.md", "1:2:3:4:5")
    assert states.settled("/a.md", "1:2:3:4:5") is None
    states.begin()
    states.commit()
    assert states.settled("/a.md", "1:2:3:4:5") is None


def test_other_file_systems_and_failures_are_read_again_sooner(
    states: FileStates, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = [Failure("b.md", "is not text")]
    monkeypatch.setattr(Mounts, "kind_of", lambda mounts, path, device: "ext4" if path.endswith("b.md") else "nfs4")
    for name, failures in (("a.md", []), ("b.md", failed)):
        states.begin()
        states.note(f"/{name}", "1:2:3:4:5", failures)
        states.commit()
        for after_s, is_settled in [(500.0, True), (200.0, False)]:
            clock.now += after_s
            states.begin()
            assert states.settled(f"/{name}", "1:2:3:4:5") == (failures if is_settled else None)


def test_a_file_of_which_nothing_is_known_is_always_read(states: FileStates, clock: Clock) -> None:
    states.note("/a.md", None)
    states.commit()
    clock.now += 100
    states.begin()
    assert states.settled("/a.md", None) is None


Change = Callable[[random.Random, list[Path], Path], None]


def edit(rng: random.Random, files: list[Path], folder: Path) -> None:
    rng.choice(files).write_text(rng.choice("abcd"))


def edit_with_its_times(rng: random.Random, files: list[Path], folder: Path) -> None:
    path = rng.choice(files)
    state = path.stat()
    path.write_text(rng.choice("abcd"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def copy_with_its_times(rng: random.Random, files: list[Path], folder: Path) -> None:
    with suppress(shutil.SameFileError):
        shutil.copy2(rng.choice(files), folder / f"{rng.choice('xyz')}.md")


def rename(rng: random.Random, files: list[Path], folder: Path) -> None:
    rng.choice(files).rename(folder / f"{rng.choice('xyzXYZ')}.md")


def link(rng: random.Random, files: list[Path], folder: Path) -> None:
    path, new = rng.choice(files), folder / f"{rng.choice('xyz')}.md"
    new.unlink(missing_ok=True)
    if path.exists():
        new.hardlink_to(path)


def remove(rng: random.Random, files: list[Path], folder: Path) -> None:
    if len(files) > 2:
        rng.choice(files).unlink()


def swap(rng: random.Random, files: list[Path], folder: Path) -> None:
    new = folder.with_name("new")
    shutil.copytree(folder, new)
    (new / "x.md").write_text(rng.choice("abcd"))
    folder.rename(folder.with_name("old"))
    new.rename(folder)
    shutil.rmtree(folder.with_name("old"))


def put_off(rng: random.Random, files: list[Path], folder: Path) -> None:
    (folder / "deep/er").mkdir(parents=True, exist_ok=True)
    rng.choice(files).rename(folder / "deep/er" / f"{rng.choice('xyz')}.md")


CHANGES: list[Change] = [edit, edit_with_its_times, copy_with_its_times, rename, link, remove, swap, put_off]


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_a_look_finds_what_reading_everything_finds(
    tmp_path: Path, states: FileStates, clock: Clock, seed: int
) -> None:
    rng, folder = random.Random(seed), tmp_path / "docs"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.md").write_text(name)
    contents: dict[str, str] = {}
    for _ in range(40):
        for _ in range(rng.randrange(4)):
            (folder / "always.md").touch()
            rng.choice(CHANGES)(rng, sorted(folder.rglob("*.md")), folder)
        clock.now += rng.choice([0.01, 0.5, 3.0, 30.0])
        time.sleep(0.01)  # the kernel's own clock, which has a few milliseconds, must not stand still meanwhile
        look(states, folder, contents)
        read = {document.source: document.version() for document in folder_documents(FolderSource(path=folder), "")}
        assert contents == read
