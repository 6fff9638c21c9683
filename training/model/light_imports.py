"""Imports without what costs seconds and is never called: a restarted worker imports everything anew."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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


def import_uncompiled(module: str) -> None:
    """Import a module whose functions are not called, and let nothing compile them.

    DeepSpeed 0.19.8 imports its Muon with every optimizer, and `torch.compile` imports Inductor for it: 1.5 s.
    """
    original, torch.compile = torch.compile, lambda *_, **__: lambda function: function
    try:
        importlib.import_module(module)
    finally:
        torch.compile = original
