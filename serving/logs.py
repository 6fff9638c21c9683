"""Serve's log of a replica, kept where a library sets up logging for itself.

vLLM and pymilvus call `logging.config.dictConfig` when they are imported. It closes every handler of the process, and
Serve's then has no file any more. Not only is what Serve writes lost: after the loss of a head its new controller asks
each replica for the name of that file, takes the error for a replica that is ill, and stops it (read in Ray 2.60).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

SERVE = "ray.serve"


@contextmanager
def serve_log_kept() -> Iterator[None]:
    """For the block in which such a library is imported."""
    handlers = [handler for handler in logging.getLogger(SERVE).handlers if isinstance(handler, MemoryHandler)]
    targets = [handler.target for handler in handlers]
    try:
        yield
    finally:
        for handler, target in zip(handlers, targets, strict=True):
            handler.setTarget(target)
