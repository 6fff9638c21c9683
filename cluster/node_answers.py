"""What tasks on other nodes return, with errors in words where they return nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError

if TYPE_CHECKING:
    from ray.exceptions import RayError


def get_answers(asked: Sequence[Any], timeout_s: float) -> list[Any]:
    """What these tasks return, in their order.

    Args:
        asked: object references of the open session.
        timeout_s: seconds until all of them must be there.

    Raises:
        TandemError: a task raised it, or a node did not answer.
    """
    import ray
    from ray.exceptions import RayError

    try:
        return list(ray.get(list(asked), timeout=timeout_s)) if asked else []
    except RayError as error:
        raise worded(error, timeout_s) from error


def worded(error: "RayError", timeout_s: float) -> Exception:
    """The error to raise for Ray's: a task's own TandemError, as Ray's text of it is a traceback.

    What is no TandemError is a fault of the program, and keeps its traceback.
    """
    from ray.exceptions import GetTimeoutError, RayTaskError

    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, TandemError) else error
    why = f"within {timeout_s:g} seconds" if isinstance(error, GetTimeoutError) else f"({error})"
    return TandemError(
        f"A node did not answer {why}.",
        "Nodes of the cluster that are up and have a place for a small task.",
        "See with `ray status` and `tandem doctor --cluster` which node is down or busy, and run the command again.",
    )
