"""Requests that begin alike go to the same replica of an engine, whose prefix cache holds that beginning already.

By rendezvous hashing (Thaler and Ravishankar, 1998) of the model's name and the first characters of the prompt: no
state, the same choice in every gateway, and a replica that comes or goes moves only its own share. A replica with many
more requests than another is passed over. Ray's own prefix router keeps a tree of all prompts in an actor, and wants to
see a prompt in every call.
"""

import hashlib
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

PREFIX_CHARACTERS = 1024
"""About two blocks of a prefix cache: with less in common there is little to gain."""
MAX_AHEAD = 8
"""Requests by which the preferred replica may be ahead of the one with the fewest."""


class PrefixRouter(RequestRouter):  # type: ignore[misc]
    """For replicas that are asked `(kind, body, ...)`; other calls go where there is least to do."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The preferred replica, then the others; or all alike."""
        beginning = _beginning(pending_request.args) if pending_request else None
        if beginning is None or len(candidate_replicas) < 2:
            return [list(candidate_replicas)]
        first = preferred_replicas(beginning, {replica.replica_id.unique_id: replica for replica in candidate_replicas})
        lengths = {one.replica_id: self._replica_queue_len_cache.get(one.replica_id) or 0 for one in candidate_replicas}
        if lengths[first.replica_id] > min(lengths.values()) + MAX_AHEAD:
            return [list(candidate_replicas)]
        return [[first], [replica for replica in candidate_replicas if replica is not first]]


def preferred_replicas(beginning: str, replicas: dict[str, Any]) -> Any:
    """The replica with the highest hash of its id and the beginning."""
    return replicas[
        max(replicas, key=lambda id: hashlib.blake2b(f"{id}\0{beginning}".encode(), digest_size=8).digest())
    ]


def _beginning(arguments: Any) -> str | None:
    body = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], dict) else {}
    prompt = body.get("messages") or body.get("prompt")
    if prompt is None:
        return None
    return f"{body.get('model')}\0{body.get('cache_salt')}\0{str(prompt)[:PREFIX_CHARACTERS]}"
