"""Ctrl-C and SIGTERM end a command once, and at every moment.

    with interrupts.raised():
        with interrupts.deferred():      # what must not be left half done, such as the start of Ray
            ...

A signal becomes KeyboardInterrupt, so that every `with` block closes what it opened. Two things would spoil that. Code
that is not ours may swallow the exception: in a destructor or in a callback Python itself does. So it is raised again
each second until something closes down because of it. And a second signal, of somebody who cannot wait, would end the
closing down in its middle: it is ignored there.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REPEAT_S = 1.0
MAX_DEFERRED_S = 20.0
"""A block of `deferred` is interrupted after this long: it hangs."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    """The signal that has come, when it came, how many blocks defer it, and whether it is raised at all."""

    is_raised = False
    number: int | None = None
    came = 0.0
    num_deferring = 0


_state = _State()


@contextmanager
def raised() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGINT and SIGTERM within a block; in the main thread, and once."""
    _state.is_raised, _state.number, _state.num_deferring = True, None, 0
    before = [(number, signal.signal(number, _on_signal)) for number in (*_SIGNALS, signal.SIGALRM)]
    report = sys.unraisablehook
    sys.unraisablehook = lambda raised: None if issubclass(raised.exc_type, KeyboardInterrupt) else report(raised)
    try:
        yield
    finally:
        _state.is_raised = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)
        sys.unraisablehook = report


@contextmanager
def deferred() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block, and not within it (or after 20 s, if it hangs)."""
    _state.num_deferring += 1
    try:
        yield
    finally:
        _state.num_deferring -= 1
    if _state.is_raised and _state.number is not None and not _state.num_deferring and not _is_closing_down():
        raise KeyboardInterrupt


def accept() -> None:
    """Say that the interrupt is how a command ends that runs until it is interrupted; it then ends well."""
    _state.number = None


def exit_code() -> int | None:
    """130 or 143 where an interrupt came that nobody accepted, as shells count; else None."""
    return None if _state.number is None else 128 + _state.number


def _on_signal(number: int, _: FrameType | None) -> None:
    if number in _SIGNALS and _state.number is None:
        _state.number, _state.came = number, time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, REPEAT_S, REPEAT_S)
    if _state.number is None or _is_closing_down():
        return
    if _state.num_deferring and time.monotonic() < _state.came + MAX_DEFERRED_S:
        return
    raise KeyboardInterrupt


def _is_closing_down() -> bool:
    """Whether the main thread is in an `except`, a `finally` or an `__exit__` because of a KeyboardInterrupt."""
    error: Any = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
