"""The error that ends a training, from a worker to the driver without a file: a full disk takes none.

A worker that raises is started again by Ray Train as often as `max_failures` says. What no restart can cure is posted
in the key-value store of the Ray cluster, where the driver finds it within a second and ends the training.
"""

import json

from cluster.errors import TandemError
from cluster.full_disk import DiskFull

MAKE_ROOM = "Make room there, or set `training.keep_checkpoints` lower; then run `tandem train --resume`."
_NAMESPACE = "tandem-training-errors"


def post_error(attempt: str, error: TandemError) -> None:
    """Keep an error for the driver; inside a Ray session.

    Args:
        attempt: names one call of the driver, so that nothing of an earlier one is read.
    """
    from ray.experimental.internal_kv import _internal_kv_put

    parts = {"parts": [error.seen, error.accepted, error.remedy], "is_full_disk": isinstance(error, DiskFull)}
    _internal_kv_put(attempt, json.dumps(parts), namespace=_NAMESPACE)


def find_error(attempt: str) -> TandemError | None:
    """The error that a worker of this attempt posted, if one did; None while the store does not answer."""
    from ray.experimental.internal_kv import _internal_kv_get

    try:
        content = _internal_kv_get(attempt, namespace=_NAMESPACE)
    except Exception:  # noqa: BLE001  # the head is away: Ray Train says what becomes of the training
        return None
    if content is None:
        return None
    values = json.loads(content)
    return (DiskFull if values["is_full_disk"] else TandemError)(*values["parts"])
