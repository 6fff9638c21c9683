"""Which replica a prompt goes to: chosen by the hash, and as seen over three real replicas."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import httpx
import pytest

from benchmarks.instant_engine import gateway_only
from serving.config import ServingConfig
from serving.deploy.serve_options import PREFIX_ROUTER
from serving.engine.prefix_router import PrefixRouter, preferred_replicas
from tests.ports import free_port
from tests.serving.served_app import Endpoint

BEGINNINGS = [f"System prompt {number}. " * 100 for number in range(300)]


def test_each_replica_is_preferred_for_its_share_and_keeps_it_when_another_goes() -> None:
    replicas = {name: name for name in ("a", "b", "c")}
    chosen = [preferred_replicas(beginning, replicas) for beginning in BEGINNINGS]
    assert all(70 < number < 130 for number in Counter(chosen).values())
    left = {name: name for name in ("a", "c")}
    assert all(
        preferred_replicas(each, left) == before
        for each, before in zip(BEGINNINGS, chosen, strict=True)
        if before != "b"
    )


@pytest.fixture(scope="module")
def url(endpoint: Endpoint) -> Iterator[str]:
    """In the Ray session of the other tests' endpoint."""
    router = {"num_replicas": 3, "request_router_config": {"request_router_class": PREFIX_ROUTER}}
    with gateway_only(ServingConfig(port=free_port()), None, **router) as url:
        yield url


def replica(url: str, system: str, question: str) -> str:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    answer = httpx.post(f"{url}/chat/completions", json={"model": "base", "messages": messages}, timeout=60)
    assert answer.status_code == 200
    return str(answer.json()["system_fingerprint"])


@pytest.mark.slow
def test_what_begins_alike_goes_to_one_replica_and_the_rest_is_spread(url: str) -> None:
    for beginning in BEGINNINGS[:5]:
        assert len({replica(url, beginning, f"Question {number}?") for number in range(6)}) == 1
    assert len({replica(url, beginning, "Why?") for beginning in BEGINNINGS[:30]}) == 3


@dataclass(frozen=True)
class Id:
    """A replica's, as far as the router looks at it."""

    unique_id: str


@pytest.mark.parametrize(("ahead", "is_preferred"), [(0, True), (8, True), (9, False)])
def test_a_replica_with_many_more_requests_is_passed_over(ahead: int, is_preferred: bool) -> None:
    replicas = [SimpleNamespace(replica_id=Id(name)) for name in ("a", "b", "c")]
    first = preferred_replicas("base\0None\0[{}]", {one.replica_id.unique_id: one for one in replicas})
    router = object.__new__(PrefixRouter)
    router._replica_queue_len_cache = SimpleNamespace(
        get=lambda replica_id: 3 + ahead if replica_id == first.replica_id else 3
    )
    request = SimpleNamespace(args=("chat", {"model": "base", "messages": [{}]}, {}))
    ranks = asyncio.run(router.choose_replicas(replicas, request))
    assert (ranks[0] == [first]) == is_preferred and sum(map(len, ranks)) == 3
