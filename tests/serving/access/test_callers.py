"""Keys and limits at the real gateway, two replicas of it on one port, over an engine that answers at once."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.instant_engine import gateway_only
from serving.access.keys import Key, Keys, Limits
from serving.config import ServingConfig
from tests.ports import free_port
from tests.serving.redis_server import redis_server
from tests.serving.served_app import Endpoint

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "Iron?"}], "max_tokens": 8}


@dataclass(frozen=True)
class Gateways:
    url: str
    keys: Keys

    def ask(self, secret: str | None, **changed: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
        return httpx.post(f"{self.url}/chat/completions", json=BODY | changed, headers=headers, timeout=30)

    def statuses(self, secret: str, number: int, **changed: Any) -> Counter[int]:
        """Of so many requests at once, each over a connection of its own, so that both gateways get some."""

        async def ask_all() -> list[int]:
            limits = httpx.Limits(max_connections=number, max_keepalive_connections=0)
            headers = {"Authorization": f"Bearer {secret}"}
            async with httpx.AsyncClient(timeout=60, limits=limits, headers=headers) as client:
                url, body = f"{self.url}/chat/completions", BODY | changed
                answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(number)))
                return [answer.status_code for answer in answers]

        return Counter(asyncio.run(ask_all()))


@pytest.fixture(scope="module", params=["limiter", "redis"])
def gateways(
    request: pytest.FixtureRequest, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateways]:
    """In the Ray session of the other tests' endpoint; limits are counted by a deployment, or in Redis."""
    folder: Path = tmp_path_factory.mktemp("keys")
    with redis_server() if request.param == "redis" else nullcontext((None, None)) as (redis_url, _):
        config = ServingConfig(port=free_port(), redis_url=redis_url)
        with gateway_only(config, folder, num_gateways=2) as url:
            yield Gateways(url, Keys(folder))


def made(gateways: Gateways, **of: Any) -> tuple[Key, str]:
    return gateways.keys.create("test", **of)


def test_a_key_is_needed_and_must_be_known(gateways: Gateways) -> None:
    _, secret = made(gateways)
    assert gateways.ask(secret).status_code == 200
    for wrong in (None, "nonsense", secret[:-1] + "-", "tdm_000000000000_" + "x" * 43):
        refused = gateways.ask(wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key"), wrong
        assert "tdm_0" not in refused.text and secret not in refused.text
    assert httpx.get(f"{gateways.url}/models").status_code == 401
    assert httpx.get(f"{gateways.url}/models/base").status_code == 401


def test_a_key_sees_and_asks_only_what_it_may(gateways: Gateways) -> None:
    _, secret = made(gateways, models=("base:support",))
    refused = gateways.ask(secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_permitted")
    listed = httpx.get(f"{gateways.url}/models", headers={"Authorization": f"Bearer {secret}"})
    assert listed.json()["data"] == []
    _, allowed = made(gateways, models=("base",))
    assert gateways.ask(allowed).status_code == 200


def test_a_revoked_key_opens_nothing_any_more(gateways: Gateways) -> None:
    key, secret = made(gateways)
    assert gateways.ask(secret).status_code == 200
    gateways.keys.revoke(key.id)
    deadline = 20
    while gateways.ask(secret).status_code == 200:
        deadline -= 1
        assert deadline
        asyncio.run(asyncio.sleep(0.1))


@pytest.mark.parametrize("stream", [False, True])
def test_two_hundred_at_once_over_two_gateways_never_pass_the_limit(gateways: Gateways, stream: bool) -> None:
    _, secret = made(gateways, limits=Limits(requests_per_minute=17))
    assert gateways.statuses(secret, 200, stream=stream) == {200: 17, 429: 183}
    refused = gateways.ask(secret)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 61


def test_tokens_of_a_minute_are_those_that_were_used(gateways: Gateways) -> None:
    _, secret = made(gateways, limits=Limits(tokens_per_minute=1000))
    assert gateways.ask(secret, max_tokens=2000).status_code == 429, "more than it could ever use"
    assert [gateways.ask(secret, max_tokens=900).status_code for _ in range(5)] == [200] * 5, "20 of each were used"


def test_concurrency_is_given_back(gateways: Gateways) -> None:
    _, secret = made(gateways, limits=Limits(concurrency=2))
    found = gateways.statuses(secret, 50)
    assert found[200] >= 2 and set(found) <= {200, 429}
    assert [gateways.ask(secret).status_code for _ in range(5)] == [200] * 5
    assert [gateways.ask(secret, stream=True).status_code for _ in range(5)] == [200] * 5
