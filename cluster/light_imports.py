"""Imports without what costs seconds and is never called: a restarted worker imports everything anew."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_packages(*names: str) -> Iterator[None]:
    """Optional packages count as not installed for what is imported inside; those that are imported already stay.

    Python finds no package whose place in `sys.modules` holds None.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
