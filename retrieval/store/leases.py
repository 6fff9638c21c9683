"""One writer of a collection at a time, whatever the machine, the user and the address of the server that it writes by.

    with hold_lease(store, "help-desk"):
        store.upsert(physical, rows)            # raises WriterReplaced once another writer has taken over

A writer makes an empty collection, `tandem_help_ddesk_w<random>`, then looks at all locks of that name: the later of
two writers sees the earlier one, so at most one of them stays. It renews a property of its lock every `RENEW_S`
seconds. A lock whose property stands still for `LEASE_S` seconds, on the clock of the one who looks, is that of a dead
writer, and so is at once the lock of a process of this machine that has ended; it is dropped. A writer that has not
renewed for a while looks before it writes whether its lock is still there. No clocks of two machines are compared.
"""

import getpass
import json
import os
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cluster.errors import TandemError
from retrieval.errors import CollectionBusy, WriterReplaced
from retrieval.store.collection import alias_of
from retrieval.store.store import Store

LEASE_S = 20.0
RENEW_S = 2.0
LOOK_S = 0.2
# A writer that could not renew for so long looks before it writes.
TRUSTED_S = LEASE_S / 2
BACK_OFF_S = 0.3
WRITER_PROPERTY, RENEWED_PROPERTY = "tandem.writer", "tandem.renewed"
# The tokens of this process: a store that was away kept the lock of a run that has ended.
_held: set[str] = set()


@contextmanager
def hold_lease(store: Store, name: str, on_wait: Callable[[str], object] = print) -> "Iterator[Lease]":
    """Be the only writer of the collection `name`, published or not, until the block ends.

    Args:
        store: every write by it looks first whether the lease still holds.
        on_wait: gets a line where a writer must be watched for long, which is at most `LEASE_S` seconds.

    Raises:
        CollectionBusy: another process writes to it.
        WriterReplaced: (by writes) another process took over, since this one did not renew in time.
        RetrievalUnavailable: the store does not answer.
    """
    lease = _acquire(store, name, on_wait)
    store.before_write = lease.check
    renewing = threading.Thread(target=lease.renew_until_released, daemon=True, name=f"lease-{name}")
    renewing.start()
    try:
        yield lease
    finally:
        store.before_write = None
        lease.released.set()
        renewing.join(RENEW_S)
        _held.discard(lease.writer.token)
        with suppress(TandemError):  # it runs out
            store.remove(lease.lock)


def is_held(store: Store, name: str) -> bool:
    """Whether a process may be writing to the collection `name`; the lock of one that has died counts too."""
    return bool(_locks(store, name))


@dataclass(frozen=True)
class Writer:
    """Who holds a lock."""

    token: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    pid: int = field(default_factory=os.getpid)
    user: str = field(default_factory=lambda: _user())
    host: str = field(default_factory=socket.gethostname)
    processes: str = field(default_factory=lambda: _processes())
    """Where its process number counts: the boot of a machine and a namespace on it; empty where that is not known."""
    started: str = field(default_factory=lambda: _started(os.getpid())[0])
    """When its process started, in ticks since that boot: a number is given to other processes later."""

    @property
    def is_here(self) -> bool:
        """Whether its process can be looked at from here."""
        return bool(self.processes) and self.processes == _processes()

    @property
    def is_own(self) -> bool:
        """Whether it is one of this process."""
        return self.is_here and (self.pid, self.started) == (os.getpid(), _started(os.getpid())[0])

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; a writer elsewhere never is."""
        if not self.is_here:
            return False
        if self.is_own:
            return self.token not in _held
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it is another user's
        started, state = _started(self.pid)
        return bool(started) and (started != self.started or state in "ZX")


@dataclass
class Lease:
    """The right to write; it holds while the lock is there and bears our token."""

    store: Store
    lock: str
    writer: Writer
    renewed: float
    """When the lock was last seen to be ours, on the monotonic clock."""
    released: threading.Event = field(default_factory=threading.Event)
    is_lost: bool = False

    def check(self) -> None:
        """Raises WriterReplaced where another writer may have taken over."""
        if not self.is_lost and time.monotonic() - self.renewed > TRUSTED_S:
            self._renew()
        if self.is_lost:
            raise WriterReplaced(
                f"Another process took over writing, since this one did not answer for {LEASE_S:.0f} s.",
                "One process at a time writes to a collection.",
                "Run this again: what is missing is then added.",
            )

    def renew_until_released(self) -> None:
        """Renew the lock again and again; what fails is tried again the next time."""
        while not self.released.wait(RENEW_S) and not self.is_lost:
            with suppress(TandemError):
                self._renew()

    def _renew(self) -> None:
        began = time.monotonic()
        kept = self.store.properties(self.lock)
        if kept is None or _writer(kept) != self.writer:
            self.is_lost = True
            return
        self.store.set_properties(self.lock, _kept(self.writer))
        self.renewed = began


def _acquire(store: Store, name: str, on_wait: Callable[[str], object]) -> Lease:
    dead: set[str] = set()
    while True:
        dead |= _dead_locks(store, name, dead, on_wait)
        writer = Writer()
        lock = f"{alias_of(name)}_w{writer.token}"
        began = time.monotonic()
        _held.add(writer.token)
        store.create_empty(lock, _kept(writer))
        others = _locks(store, name) - {lock}
        if others <= dead:
            for other in others:
                store.remove(other)
            return Lease(store, lock, writer, began)
        # Two at once: both step back, and the one that comes back first stays.
        store.remove(lock)
        _held.discard(writer.token)
        time.sleep(random.uniform(0.1, 1) * BACK_OFF_S)


def _dead_locks(store: Store, name: str, known: set[str], on_wait: Callable[[str], object]) -> set[str]:
    """The locks that dead writers left.

    Raises:
        CollectionBusy: one of the writers lives.
    """
    dead = set()
    for lock in _locks(store, name) - known:
        kept = store.properties(lock)
        if kept is None:
            continue
        writer = _writer(kept)
        if writer and writer.is_own and not writer.is_gone:
            raise _busy(name, writer)
        if (writer and writer.is_gone) or _stands_still(store, name, lock, kept, on_wait):
            dead.add(lock)
    return dead


def _stands_still(store: Store, name: str, lock: str, kept: dict[str, str], on_wait: Callable[[str], object]) -> bool:
    """Whether a lock was not renewed for `LEASE_S`; False where it was released.

    Raises:
        CollectionBusy: it was renewed.
    """
    writer = _writer(kept)
    began, has_said = time.monotonic(), False
    while (waited := time.monotonic() - began) < LEASE_S:
        if waited > 1.5 * RENEW_S and not has_said:
            on_wait(f"{_whose(writer)} was writing to {name}: waiting up to {LEASE_S:.0f} s for a sign of life")
            has_said = True
        time.sleep(LOOK_S)
        now = store.properties(lock)
        if now is None:
            return False
        if now.get(RENEWED_PROPERTY) != kept.get(RENEWED_PROPERTY):
            raise _busy(name, writer)
    return True


def _locks(store: Store, name: str) -> set[str]:
    pattern = re.compile(re.escape(alias_of(name)) + "_w[0-9a-f]{16}")
    return {physical for physical in store.names() if pattern.fullmatch(physical)}


def _kept(writer: Writer) -> dict[str, str]:
    return {WRITER_PROPERTY: json.dumps(asdict(writer)), RENEWED_PROPERTY: uuid.uuid4().hex}


def _writer(kept: dict[str, str]) -> Writer | None:
    try:
        return Writer(**json.loads(kept[WRITER_PROPERTY]))
    except (KeyError, TypeError, ValueError):
        return None


def _whose(writer: Writer | None) -> str:
    return f"Process {writer.pid} of {writer.user} on {writer.host}" if writer else "A process"


def _busy(name: str, writer: Writer | None) -> CollectionBusy:
    who = f" (process {writer.pid} of {writer.user} on {writer.host})" if writer else ""
    return CollectionBusy(
        f"The collection {name} is being indexed by another process{who}.",
        "One process at a time writes to a collection.",
        "Wait until it has ended, then run this again.",
    )


def _processes() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> tuple[str, str]:
    """When a process started and its state, as the kernel writes them; empty where that cannot be read."""
    try:
        # The name of the command, in brackets, may hold spaces and brackets.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[18], state
    except (OSError, ValueError, IndexError):
        return "", ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
