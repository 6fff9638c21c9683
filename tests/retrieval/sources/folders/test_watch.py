"""Waiting for changes with the system's own events; and without them, where the system has none left."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.sources.folders.watch import Events, FolderWatch, open_events

LIMIT_S = 5.0


def write(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def woken(watch: FolderWatch) -> bool:
    """Whether the watch reports a change within a few seconds."""
    began = time.monotonic()
    while time.monotonic() < began + LIMIT_S:
        if watch.wait():
            return True
    return False


def settled(watch: FolderWatch) -> None:
    """Wait until nothing is reported any more."""
    while watch.wait():
        pass


def save_by_rename(path: Path, text: str) -> None:
    write(path.with_name(".save"), text).rename(path)


def swap_folder(path: Path, text: str) -> None:
    for name in (path.name, "sub/b.md"):
        write(path.parent.with_name("next") / name, text)
    path.parent.rename(path.parent.with_name("previous"))
    path.parent.with_name("next").rename(path.parent)
    shutil.rmtree(path.parent.with_name("previous"))


def switch_link(path: Path, text: str) -> None:
    """The folder is a link, as git-sync and capistrano leave it."""
    release = path.parent.parent / f"release-{time.monotonic_ns()}"
    write(release / path.name, text)
    new = path.parent.with_name("new-link")
    new.symlink_to(release.name)
    if path.parent.is_dir() and not path.parent.is_symlink():
        shutil.rmtree(path.parent)
    new.rename(path.parent)


def swap_config_map(path: Path, text: str) -> None:
    """As Kubernetes renews a volume: the file is a link through `..data`."""
    version = path.parent / f"..{time.monotonic_ns()}"
    write(version / path.name, text)
    new = path.parent / "..data_tmp"
    new.symlink_to(version.name)
    new.rename(path.parent / "..data")
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(f"..data/{path.name}")


def replace_backup(path: Path, text: str) -> None:
    """As vim writes by default where it keeps the file's owner: the old one becomes the backup."""
    path.rename(path.with_name(f"{path.name}~"))
    write(path, text)
    path.with_name(f"{path.name}~").unlink()


def write_plainly(path: Path, text: str) -> None:
    write(path, text)


WAYS: list[Callable[[Path, str], None]] = [
    write_plainly, save_by_rename, replace_backup, swap_folder, switch_link, swap_config_map
]  # fmt: skip


@pytest.mark.parametrize("change", WAYS)
def test_a_folder_is_followed_however_often_it_changes(
    tmp_path: Path, stop: threading.Event, change: Callable[[Path, str], None]
) -> None:
    path = write(tmp_path / "docs/a.md")
    with FolderWatch([tmp_path / "docs"], stop, print) as watch:
        assert watch.wait()
        for number in range(3):
            settled(watch)
            change(path, f"{number}")
            assert woken(watch)
            settled(watch)
            write(path.parent / "b.md", f"{number}")
            assert woken(watch), "and what is there now is followed too"


@pytest.mark.parametrize("change", WAYS[:3] + WAYS[4:])
def test_a_single_file_is_followed_however_it_is_saved(
    tmp_path: Path, stop: threading.Event, change: Callable[[Path, str], None]
) -> None:
    path = write(tmp_path / "docs/a.md")
    with FolderWatch([path], stop, print) as watch:
        assert watch.wait()
        for number in range(4):
            settled(watch)
            change(path, f"{number}")
            assert woken(watch)


@pytest.mark.parametrize("name", ["node_modules/a.md", ".venv/a.md", "flycheck_a.md", "a/b/c/d/e.md", "a.md~"])
def test_no_name_is_left_out(tmp_path: Path, stop: threading.Event, name: str) -> None:
    write(tmp_path / "docs/a.md")
    with FolderWatch([tmp_path / "docs"], stop, print) as watch:
        assert watch.wait()
        settled(watch)
        write(tmp_path / "docs" / name)
        assert woken(watch)


def test_a_folder_that_goes_and_comes_back_is_two_changes(tmp_path: Path, stop: threading.Event) -> None:
    write(tmp_path / "docs/a.md")
    with FolderWatch([tmp_path / "docs"], stop, print) as watch:
        settled(watch)
        (tmp_path / "docs").rename(tmp_path / "away")
        assert woken(watch)
        settled(watch)
        (tmp_path / "away").rename(tmp_path / "docs")
        assert woken(watch)
        settled(watch)
        write(tmp_path / "docs/b.md")
        assert woken(watch)


def test_a_file_whose_name_is_not_utf_8_does_not_end_the_watch(tmp_path: Path, stop: threading.Event) -> None:
    said: list[str] = []
    write(tmp_path / "docs/a.md")
    with FolderWatch([tmp_path / "docs"], stop, said.append) as watch:
        for _ in range(8):
            settled(watch)
            Path(os.fsdecode(bytes(tmp_path / "docs") + b"/\xff.md")).write_text(str(time.monotonic_ns()))
            assert woken(watch)
    assert watch.has_events and not said


@pytest.mark.parametrize("error", [OSError(28, "OS file watch limit reached"), RuntimeError("no instances left")])
def test_a_system_without_watches_is_said_and_paths_are_still_looked_at(
    tmp_path: Path, stop: threading.Event, error: Exception
) -> None:
    def refuse(paths: object, stop: threading.Event) -> Events:
        raise error
        yield

    said: list[str] = []
    path = write(tmp_path / "a.md")
    with FolderWatch([path], stop, said.append, refuse) as watch:
        settled(watch)
        assert not watch.has_events and len(said) == 1 and str(error) in said[0]
        assert "fs.inotify.max_user_watches" in said[0]
        save_by_rename(path, "new")
        assert woken(watch)


OF_FIFTY = """
import threading, sys
from pathlib import Path
from retrieval.sources.folders.watch import FolderWatch
said = []
watch = FolderWatch([Path(sys.argv[1])], threading.Event(), said.append)
for _ in range(8):
    watch.wait()
print(watch.has_events, said)
"""


@pytest.mark.parametrize("limit", ["watches", "instances"])
def test_the_limit_of_the_kernel_is_said(tmp_path: Path, limit: str) -> None:
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
    program = f"echo 20 > /proc/sys/user/max_inotify_watches && exec {sys.executable} -c '{OF_FIFTY}' {tmp_path}"
    if limit == "instances":
        program = program.replace("echo 20", "echo 0").replace("max_inotify_watches", "max_inotify_instances")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode:
        pytest.skip("a user namespace, in which the limit can be lowered, cannot be made here")
    run = subprocess.run(["unshare", "-Ur", "sh", "-c", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("False ['The system cannot report changes of these folders"), run.stdout


def test_a_stop_ends_the_waiting(tmp_path: Path, stop: threading.Event) -> None:
    with FolderWatch([tmp_path, tmp_path / "missing"], stop, print) as watch:
        settled(watch)
        stop.set()
        began = time.monotonic()
        watch.wait()
        assert time.monotonic() - began < LIMIT_S


def test_events_of_nothing_are_nothing(stop: threading.Event) -> None:
    assert next(open_events([], stop)) == set()
