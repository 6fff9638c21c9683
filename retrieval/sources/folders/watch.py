"""Waiting for changes of folders and files: what the system reports, and what it cannot report.

    with FolderWatch(paths, stop, on_progress=print) as watch:
        while not stop.is_set():
            if watch.wait(): ...

The system reports changes of the folder that it was asked to watch, not of whatever has that path later. So each of the
paths is also looked at ten times a second: another folder or file in its place (a swap by rename, a link that points
elsewhere, a mount) is a change, and is watched from then on.
"""

import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

# How long the files must be left alone before they are read: an editor writes one in several steps.
QUIET_MS = 100
MAX_QUIET_S = 1.6
MAX_FAILURES = 5
Identity: TypeAlias = "tuple[int, ...] | None"
Events: TypeAlias = "Generator[Any, None, None]"
OpenEvents = Callable[[Sequence[Path], threading.Event], Events]


def open_events(paths: Sequence[Path], stop: threading.Event) -> Events:
    """The changes below `paths` whenever it has been quiet for `QUIET_MS`, and nothing after that time without any."""
    from watchfiles import watch

    # No filter: what the index reads and no event is passed on for would be stale. Permissions are not ignored: that
    # ignores a lack of watches too, and whatever comes after the first folder without one.
    return watch(
        *paths, watch_filter=None, stop_event=stop, step=QUIET_MS, rust_timeout=QUIET_MS,
        debounce=int(MAX_QUIET_S * 1000), yield_on_timeout=True, ignore_permission_denied=False,
    )  # fmt: skip


class FolderWatch:
    """Folders and files that are watched. Not thread-safe.

    Args:
        paths: the sources; they need not exist.
        stop: ends the waiting.
        on_progress: gets what the user should know.
        events: opens the events; by default those of the system.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        stop: threading.Event,
        on_progress: Callable[[str], None],
        events: OpenEvents | None = None,
    ) -> None:
        self.paths, self._stop, self._on_progress, self._open_events = paths, stop, on_progress, events or open_events
        self._events: Events | None = None
        self._seen: list[Identity] = []
        self.has_events = False
        """Whether the system reports changes: not where it has no more watches."""
        self._is_open, self._num_failures = False, 0

    def __enter__(self) -> "FolderWatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def wait(self) -> bool:
        """Wait a tenth of a second, or while files are being written. True where anything may have changed since the
        last call, so also by the first one."""
        if not self._is_open:
            self._open()
            return True
        has_changed = self._next()
        seen = self._quiet_identities() if self._seen != _identities(self.paths) else self._seen
        if [_place(each) for each in seen] != [_place(each) for each in self._seen]:
            self._open()
            return True
        has_changed, self._seen = has_changed or seen != self._seen, seen
        return has_changed

    def close(self) -> None:
        """Watch nothing any more; the next `wait` begins anew."""
        if self._events is not None:
            self._events.close()
        self._events, self._is_open = None, False

    def _open(self) -> None:
        """Watch what is at the paths now. The identities are taken first: what comes between is a change."""
        self.close()
        self._is_open, self._seen = True, _identities(self.paths)
        existing = [path for path, identity in zip(self.paths, self._seen, strict=True) if identity]
        self._events = self._open_events(existing, self._stop)
        self.has_events = True
        self._next()

    def _next(self) -> bool:
        """Whether the system reports changes, after it was quiet for a moment."""
        if not self.has_events or self._events is None:
            self._stop.wait(QUIET_MS / 1000)
            return False
        try:
            changes = next(self._events, None)
        except (OSError, RuntimeError) as error:
            # A folder that goes while it is being watched, or a file whose name is not UTF-8: some events are lost, so
            # all is looked at and watched anew.
            self._num_failures += 1
            self._is_open = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
            if self._is_open or self._num_failures >= MAX_FAILURES:
                self._is_open, self.has_events = True, False
                self._on_progress(_without_events(error))
            return True
        self._num_failures = 0
        return bool(changes)

    def _quiet_identities(self) -> list[Identity]:
        """What the paths are once that has stood still for a moment."""
        began, seen = time.monotonic(), _identities(self.paths)
        while not self._stop.wait(QUIET_MS / 1000) and time.monotonic() < began + MAX_QUIET_S:
            before, seen = seen, _identities(self.paths)
            if seen == before:
                break
        return seen


def _identities(paths: Sequence[Path]) -> list[Identity]:
    return [_identity(path) for path in paths]


def _identity(path: Path) -> Identity:
    """Device and inode of what is at a path, links followed, and of a file also size and times; None for nothing."""
    try:
        state = path.stat()
    except OSError:
        return None
    if stat.S_ISDIR(state.st_mode):
        return state.st_dev, state.st_ino
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _place(identity: Identity) -> Identity:
    return identity[:2] if identity else None


def _without_events(error: Exception) -> str:
    return (
        f"The system cannot report changes of these folders ({error}). They are looked at again and again instead. "
        "On Linux, raise fs.inotify.max_user_watches or max_user_instances where they are the limit, then start again."
    )
