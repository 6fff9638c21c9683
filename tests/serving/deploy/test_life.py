"""An adapter's life on the real app: promoted and taken back under load, split, unloaded, and never mixed up."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.registry.mirror import push_versions
from cluster.registry.registry import Registry
from cluster.storage.storage import Storage
from tests.serving.served_app import ADAPTER, MAX_LOADED, REGISTRY, Endpoint, publish, random_adapter

pytestmark = pytest.mark.slow
LONG = "The atomic number of Iron is 26. " * 60
"""More than two blocks of the prefix cache, which are 128 tokens each on a CPU."""


def test_promoted_and_rolled_back_under_load_without_a_failed_request(endpoint: Endpoint) -> None:
    registry = Registry(endpoint.storage.adapters)
    first, second = endpoint.publish("moving"), endpoint.publish("moving")
    registry.promote("moving", first)
    seen: list[tuple[float, int, str]] = []
    ending = threading.Event()

    def ask_on() -> None:
        with httpx.Client(timeout=60) as client:
            while not ending.is_set():
                answer = asked(endpoint, "base:moving", client=client, max_tokens=4)
                seen.append((time.monotonic(), answer.status_code, answer.json().get("model", "")))

    def follows(version: int) -> None:
        """The endpoint answers with this version alone, before 5 s have passed."""
        registry.promote("moving", version)
        promoted = time.monotonic()
        wait_until(lambda: seen[-1][2] == f"base:moving@{version}", 5)
        time.sleep(max(0.0, promoted + 5 - time.monotonic()))
        time.sleep(0.5)
        assert {model for at, _, model in list(seen) if at > promoted + 5} == {f"base:moving@{version}"}

    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(ask_on) for _ in range(6)]
        try:
            wait_until(lambda: len(seen) > 20, 30)
            follows(second)
            follows(first)
        finally:
            ending.set()
        for each in asking:
            each.result()
    assert Counter(status for _, status, _ in seen) == {200: len(seen)}


def test_what_is_pushed_to_the_bucket_is_served_and_followed(endpoint: Endpoint, tmp_path: Path) -> None:
    """Published on another machine, as it were: in a folder that the endpoint does not read."""
    elsewhere = Storage(tmp_path / "elsewhere")
    for promote in (True, False):
        publish(elsewhere, "remote", endpoint.adapter, promote=promote)
    registry = Registry(elsewhere.adapters)
    push_versions(REGISTRY, registry, "remote")
    wait_until(lambda: asked(endpoint, "base:remote").status_code == 200, 10)
    assert asked(endpoint, "base:remote").json()["model"] == "base:remote@1"
    registry.promote("remote", 2)
    push_versions(REGISTRY, registry, "remote")
    wait_until(lambda: asked(endpoint, "base:remote").json()["model"] == "base:remote@2", 5)


def test_a_split_gives_each_caller_its_version_and_about_its_share(endpoint: Endpoint) -> None:
    versions = [endpoint.publish("shared"), endpoint.publish("shared")]
    Registry(endpoint.storage.adapters).split("shared", {versions[0]: 75, versions[1]: 25})
    callers = [f"user-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        first, again = (
            list(threads.map(lambda user: asked(endpoint, "base:shared", user=user).json()["model"], callers))
            for _ in range(2)
        )
    assert first == again, "each keeps its own"
    assert 3 <= first.count(f"base:shared@{versions[1]}") <= 17
    assert set(first) == {f"base:shared@{version}" for version in versions}


def test_no_prefix_is_shared_between_versions_or_tenants(endpoint: Endpoint, tmp_path: Path) -> None:
    one = endpoint.publish("cached")
    other = Registry(endpoint.storage.adapters).get("cached", one).manifest
    files = random_adapter(tmp_path / "other", std=0.3)
    two = endpoint.publish("cached", files=files)
    assert other.content_digest != Registry(endpoint.storage.adapters).get("cached", two).manifest.content_digest

    def cached(version: int, **more: Any) -> int:
        usage = asked(endpoint, f"base:cached@{version}", LONG, **more).json()["usage"]
        assert usage["prompt_tokens"] > 2 * 128
        return int((usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0)

    assert [cached(one), cached(two)] == [0, 0], "another version computes it anew"
    assert min(cached(one), cached(two)) >= 2 * 128, "the same one does not"
    assert cached(one, cache_salt="a") == 0
    assert cached(one, cache_salt="a") >= 2 * 128
    assert cached(one, cache_salt="b") == 0


def test_what_is_wanted_from_the_start_is_loaded_before_it_is_asked_for(endpoint: Endpoint) -> None:
    assert [engine_id.partition(".")[0] for engine_id in endpoint.loaded_at_start] == [ADAPTER]


def test_what_is_not_used_any_more_is_unloaded(endpoint: Endpoint) -> None:
    from ray import serve

    engine = serve.get_deployment_handle("engine-base", "tandem")
    names = [f"many{number}" for number in range(MAX_LOADED + 3)]
    for name in names:
        endpoint.publish(name)
        assert asked(endpoint, f"base:{name}", max_tokens=1).status_code == 200

    def loaded() -> set[str]:
        return {engine_id.partition(".")[0] for engine_id in engine.loaded_adapters.remote().result()}

    wait_until(lambda: loaded() == set(names[-MAX_LOADED:]), 15)
    assert asked(endpoint, f"base:{names[0]}", max_tokens=1).status_code == 200
    wait_until(lambda: loaded() == {names[0], *names[1 - MAX_LOADED :]}, 15)


def asked(
    endpoint: Endpoint, model: str, content: str = "Iron?", client: httpx.Client | None = None, **more: Any
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 2, **more}
    return (client or httpx).post(f"{endpoint.url}/chat/completions", json=body, timeout=60)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
