"""A watch after whatever happens to its folders: what it holds is what a clean index of them would hold."""

import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.index import following
from retrieval.sources.document import SourceUnavailable
from retrieval.sources.folders import watch
from retrieval.sources.folders.watch import Events
from tests.retrieval.index.following import Collection, Properties, eventually


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def config(*folders: Path, **settings: Any) -> RetrievalConfig:
    return RetrievalConfig.model_validate({"sources": [*folders], "rescan_s": 1, **settings})


@pytest.fixture
def follow() -> Iterator[Callable[[Collection], Collection]]:
    """Follows collections until the test ends."""
    stop, threads = threading.Event(), []

    def begin(collection: Collection) -> Collection:
        threads.append(collection.follow(stop))
        return collection

    yield begin
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


Follow = Callable[[Collection], Collection]


def is_followed(collection: Collection) -> bool:
    return eventually(lambda: collection.is_right)


# One change of a tree each. Some need what another one has removed, and then change nothing.
def edit(rng: random.Random, files: list[Path], root: Path) -> None:
    rng.choice(files).write_text(rng.choice("abcd"))


def append(rng: random.Random, files: list[Path], root: Path) -> None:
    with rng.choice(files).open("a") as file:
        file.write(rng.choice("abcd"))


def keep_times(rng: random.Random, files: list[Path], root: Path) -> None:
    path = rng.choice(files)
    state = path.stat()
    path.write_text(rng.choice("abcd") * state.st_size)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def save_by_rename(rng: random.Random, files: list[Path], root: Path) -> None:
    path = rng.choice(files)
    write(path.with_name(f"{path.name}.tmp"), rng.choice("abcd")).rename(path)


def save_behind_a_backup(rng: random.Random, files: list[Path], root: Path) -> None:
    path = rng.choice(files)
    path.rename(path.with_name(f"{path.name}~"))
    write(path, rng.choice("abcd"))


def copy(rng: random.Random, files: list[Path], root: Path) -> None:
    shutil.copy2(rng.choice(files), root / f"{rng.choice('xyz')}.md")


def hard_link(rng: random.Random, files: list[Path], root: Path) -> None:
    (root / f"{rng.choice('uvw')}.md").hardlink_to(rng.choice(files))


def link(rng: random.Random, files: list[Path], root: Path) -> None:
    new = root / "new.link"
    new.symlink_to(rng.choice(files))
    new.rename(root / "linked.md")


def change_case(rng: random.Random, files: list[Path], root: Path) -> None:
    path = rng.choice(files)
    path.rename(path.with_name(path.name.swapcase().replace(".MD", ".md")))


def remove(rng: random.Random, files: list[Path], root: Path) -> None:
    rng.choice(files).unlink()


def move_in(rng: random.Random, files: list[Path], root: Path) -> None:
    new = root.with_name("incoming")
    for name in ("a.md", "in/b.md", "in/side/c.md"):
        write(new / name, rng.choice("abcd"))
    new.rename(root / f"moved{rng.randrange(3)}")


def move_out(rng: random.Random, files: list[Path], root: Path) -> None:
    shutil.rmtree(root.with_name("outgoing"), ignore_errors=True)
    (root / f"moved{rng.randrange(3)}").rename(root.with_name("outgoing"))


def swap_below(rng: random.Random, files: list[Path], root: Path) -> None:
    old, new = root / "moved0", root / ".next"
    write(new / "a.md", rng.choice("abcd"))
    old.rename(root / f".old{time.monotonic_ns()}")
    new.rename(old)


def swap_root(rng: random.Random, files: list[Path], root: Path) -> None:
    new, old = root.with_name("next"), root.with_name(f"old{time.monotonic_ns()}")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(root, new, symlinks=True)
    write(new / "swapped.md", rng.choice("abcd"))
    root.rename(old)
    new.rename(root)


def renew_config_map(rng: random.Random, files: list[Path], root: Path) -> None:
    version = root / f"..{time.monotonic_ns()}"
    write(version / "map.md", rng.choice("abcd"))
    (root / "..data_tmp").symlink_to(version.name)
    (root / "..data_tmp").rename(root / "..data")
    with suppress(FileExistsError):
        (root / "map.md").symlink_to("..data/map.md")


def dig(rng: random.Random, files: list[Path], root: Path) -> None:
    names = [rng.choice(["node_modules", ".venv", "flycheck_x", "a", "b"]) for _ in range(rng.randrange(2, 8))]
    write(root.joinpath(*names, f"{rng.choice('abc')}.md"), rng.choice("abcd"))


def vanish(rng: random.Random, files: list[Path], root: Path) -> None:
    root.rename(root.with_name("away"))
    time.sleep(rng.choice([0.0, 0.15, 0.4]))
    root.with_name("away").rename(root)


def leave_rows(rng: random.Random, files: list[Path], root: Path) -> None:
    rows = [f'{{"id": {number}, "text": "{rng.choice("abcd")}"}}' for number in range(rng.randrange(4))]
    write(root / "rows.jsonl", "\n".join(rows))


CHANGES = [
    edit, append, keep_times, save_by_rename, save_behind_a_backup, copy, hard_link, link, change_case, remove,
    move_in, move_out, swap_below, swap_root, renew_config_map, dig, vanish, leave_rows,
]  # fmt: skip


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.matrix) for seed in range(1, 20))])
def test_after_any_changes_the_collection_is_what_a_clean_index_is(tmp_path: Path, follow: Follow, seed: int) -> None:
    rng, root, single = random.Random(seed), tmp_path / "docs", write(tmp_path / "single/note.md", "text")
    for name in "abc":
        write(root / f"{name}.md", name)
    collection = follow(Collection(config(root, single)))
    for number in range(40):
        for _ in range(rng.randrange(1, 5)):
            files = sorted(path for path in root.rglob("*.md") if path.is_file()) or [write(root / "a.md", "a")]
            with suppress(OSError, shutil.Error):
                rng.choice(CHANGES)(rng, files, root)
            if not any(root.rglob("*.md")):
                write(root / "a.md", "a")
        rng.choice([edit, save_by_rename, save_behind_a_backup, keep_times])(rng, [single], root)
        time.sleep(rng.choice([0, 0, 0.05, 0.12, 0.3]))
        if number % 4 == 3:
            assert is_followed(collection), f"seed {seed}, round {number}"
    assert is_followed(collection)


def test_what_nothing_reports_is_found_by_looking(
    tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system: another machine writes."""

    def no_events(paths: object, stop: threading.Event) -> Events:
        while not stop.wait(0.1):
            yield set()

    monkeypatch.setattr(following, "LATE_S", 0.3)
    monkeypatch.setattr(watch, "open_events", no_events)
    path = write(tmp_path / "docs/a.md", "one")
    collection = follow(Collection(config(tmp_path / "docs")))
    path.write_text("two")
    assert is_followed(collection)
    assert eventually(lambda: any("had not reported" in said for said in collection.said))


def test_folders_without_watches_are_looked_at_again_and_again(
    tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(paths: object, stop: threading.Event) -> Events:
        raise OSError(28, "limit reached")
        yield

    monkeypatch.setattr(watch, "open_events", refuse)
    path = write(tmp_path / "docs/a.md", "one")
    collection = follow(Collection(config(tmp_path / "docs", rescan_s=3600)))
    assert len(collection.said) == 1 and "cannot report changes" in collection.said[0]
    path.write_text("two")
    assert is_followed(collection)


def test_a_look_reads_only_what_is_not_as_before(tmp_path: Path, follow: Follow) -> None:
    for number in range(50):
        path = write(tmp_path / f"docs/{number}.md", "text")
    collection = follow(Collection(config(tmp_path / "docs")))
    time.sleep(4.5)  # looks go on until the files count as settled
    num_read = collection.num_read
    path.write_text("changed")
    assert is_followed(collection)
    assert collection.num_read - num_read <= 3


def test_files_that_are_no_documents_do_not_keep_a_watch_busy(tmp_path: Path, follow: Follow) -> None:
    path = write(tmp_path / "docs/a.md", "text")
    collection, num_looks = Collection(config(tmp_path / "docs", rescan_s=3600)), 0
    look = collection.look

    def slow_look(*arguments: Any) -> Any:
        nonlocal num_looks
        num_looks += 1
        time.sleep(0.25)
        return look(*arguments)

    collection.look = slow_look  # type: ignore[method-assign]
    follow(collection)
    path.write_text("changed")
    assert is_followed(collection)
    num_looks = 0
    for number in range(30):
        write(tmp_path / "docs/.cache/state", str(number))
        time.sleep(0.1)
    assert 1 <= num_looks <= 5
    path.write_text("changed again")
    assert is_followed(collection)


def test_a_folder_that_is_away_keeps_its_documents(tmp_path: Path, follow: Follow) -> None:
    for name in ("docs/a.md", "docs/b.md", "faq/c.md"):
        write(tmp_path / name, "text")
    collection = follow(Collection(config(tmp_path / "docs", tmp_path / "faq")))
    (tmp_path / "docs").rename(tmp_path / "away")
    assert eventually(lambda: any("docs does not exist" in said for said in collection.said))
    write(tmp_path / "faq/d.md", "text")
    assert eventually(lambda: "faq/d.md" in collection.held)
    time.sleep(2.5)
    assert sorted(collection.held) == ["docs/a.md", "docs/b.md", "faq/c.md", "faq/d.md"]
    assert sum("does not exist" in said for said in collection.said) == 1, "it is said once"
    (tmp_path / "away/b.md").unlink()
    (tmp_path / "away").rename(tmp_path / "docs")
    assert is_followed(collection) and "docs/b.md" not in collection.held
    assert collection.said[-1] == "The source docs can be read again."


def test_a_folder_that_is_empty_is_believed_the_second_time(tmp_path: Path, follow: Follow) -> None:
    for name in ("docs/a.md", "docs/b.md", "faq/c.md"):
        write(tmp_path / name, "text")
    collection = follow(Collection(config(tmp_path / "docs", tmp_path / "faq", rescan_s=2)))
    for name in "ab":
        (tmp_path / f"docs/{name}.md").unlink()
    assert eventually(lambda: any(report.empty for report in collection.reports))
    assert len(collection.held) == 3
    [said] = [str(empty) for report in collection.reports for empty in report.empty]
    assert "The source docs holds no document now" in said and "2 documents" in said and "--allow-empty" in said
    assert is_followed(collection) and sorted(collection.held) == ["faq/c.md"]
    assert str(collection.reports[-1].empty[0]) == "The source docs holds no document."


def test_a_folder_that_is_filled_again_at_once_loses_nothing(tmp_path: Path, follow: Follow) -> None:
    path = write(tmp_path / "docs/a.md", "text")
    collection = follow(Collection(config(tmp_path / "docs")))
    path.unlink()
    assert eventually(lambda: any(report.empty for report in collection.reports))
    write(path, "text")
    assert is_followed(collection)
    assert not any(report.deleted for report in collection.reports)


def index(store: Properties, held: dict[str, str], settings: RetrievalConfig, allow_empty: bool = False) -> Collection:
    """A run of `tandem index` on what the collection holds."""
    collection = Collection(settings, store, allow_empty, watches=False)
    collection.held = dict(held)
    collection.reports.append(collection.look())
    return collection


def test_an_empty_source_is_believed_by_the_second_run(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", '{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n')
    write(tmp_path / "docs/a.md", "text")
    settings, store = config(tmp_path / "docs", rows), Properties()
    held = index(store, {}, settings).held
    assert sorted(held) == ["docs/a.md", "rows.jsonl#1", "rows.jsonl#2"]
    rows.write_text("")
    for _ in range(2):  # empty, filled, empty: never twice in succession
        first = index(store, held, settings)
        assert [(empty.source, empty.num_kept) for empty in first.reports[0].empty] == [("rows.jsonl", 2)]
        assert first.held == held
        rows.write_text('{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n')
        assert not index(store, held, settings).reports[0].empty
        rows.write_text("")
    index(store, held, settings)
    second = index(store, held, settings)
    assert second.held.keys() == {"docs/a.md"} and second.reports[0].num_kept == 0
    assert index(store, held, settings, allow_empty=True).held.keys() == {"docs/a.md"}


def test_an_emptied_bucket_and_an_emptied_table_keep_their_documents(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md", "text")
    bucket = fsspec.filesystem("memory")
    with suppress(FileNotFoundError):
        bucket.rm("/emptied", recursive=True)
    bucket.pipe({"/emptied/b.md": b"text", "/emptied/c.ZIP": b"PK", "/emptied/~$b.md": b"", "/emptied/.d.zip": b""})
    table = sqlite3.connect(tmp_path / "help.db")
    table.executescript("CREATE TABLE article (id INTEGER, body TEXT); INSERT INTO article VALUES (1, 'text');")
    query = {"url": f"sqlite:///{tmp_path / 'help.db'}", "query": "SELECT * FROM article", "id": "id", "text": "body"}
    sources = [tmp_path / "docs", "memory://emptied", {"sql": query}]
    settings, store = RetrievalConfig.model_validate({"sources": sources}), Properties()
    first = index(store, {}, settings)
    assert first.held.keys() == {"docs/a.md", "emptied/b.md", "help/1"}
    assert first.reports[0].other_files == {".zip": 1, "lock and backup files": 1}

    bucket.rm("/emptied/b.md")
    table.executescript("DELETE FROM article")
    second = index(store, first.held, settings)
    assert second.held == first.held
    assert [(empty.source, empty.num_kept) for empty in second.reports[0].empty] == [("emptied", 1), ("help", 1)]
    third = index(store, second.held, settings)
    assert third.held.keys() == {"docs/a.md"}
    index(store, third.held, settings).listing.require_documents()  # what is empty for good is no error

    unknown = index(Properties(), third.held, RetrievalConfig.model_validate({"sources": sources[:1]}))
    unknown.listing.sources = settings.sources
    with pytest.raises(TandemError, match="No document was found in memory://emptied"):
        unknown.listing.require_documents()


def test_a_source_that_is_missing_is_an_error_and_nothing_is_deleted(tmp_path: Path) -> None:
    write(tmp_path / "docs/a.md", "text")
    write(tmp_path / "faq/b.md", "text")
    settings, store = config(tmp_path / "docs", tmp_path / "faq"), Properties()
    collection = index(store, {}, settings)
    shutil.rmtree(tmp_path / "docs")
    with pytest.raises(SourceUnavailable, match="docs does not exist"):
        collection.look()
    assert len(collection.held) == 2
    assert issubclass(SourceUnavailable, TandemError)
