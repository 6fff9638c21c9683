"""Whatever stands in a request: a status below 500 in OpenAI's shape, and no line of a log that it could break."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from benchmarks.instant_engine import gateway_only
from serving.access.keys import Keys
from serving.config import ServingConfig
from tests.ports import free_port
from tests.retrieval.hostile import HOSTILE
from tests.serving.served_app import COLLECTION, Endpoint

pytestmark = pytest.mark.slow

TEXTS = [value for value in HOSTILE if len(value.encode("utf-8", "surrogatepass")) < 5000]
CHAT: dict[str, Any] = {"model": "base", "messages": [{"role": "user", "content": "Iron?"}], "max_tokens": 1}
SECRET_QUESTION = "PRIVATE-3141592"
FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "model": lambda text: CHAT | {"model": text},
    "adapter": lambda text: CHAT | {"model": f"base:{text}"},
    "collection in the name": lambda text: CHAT | {"model": f"base+{text}"},
    "collection": lambda text: CHAT | {"retrieval": {"collection": text}},
    "filter key": lambda text: CHAT | {"retrieval": {"collection": "x", "filter": eq(text, "a")}},
    "filter value": lambda text: CHAT | {"retrieval": {"collection": "x", "filter": eq("source", text)}},
    "user": lambda text: CHAT | {"user": text},
    "role": lambda text: CHAT | {"messages": [{"role": text, "content": "Iron?"}]},
    "content": lambda text: CHAT | {"messages": [{"role": "user", "content": SECRET_QUESTION + text}]},
    "part": lambda text: CHAT | {"messages": [{"role": "user", "content": [{"type": text, "text": text}]}]},
    "stop": lambda text: CHAT | {"stop": text},
    "cache_salt": lambda text: CHAT | {"cache_salt": text},
    "any name": lambda text: CHAT | {text: text},
}


def eq(key: str, value: str) -> dict[str, str]:
    return {"type": "eq", "key": key, "value": value}


def encoded(body: dict[str, Any]) -> bytes:
    """As JSON; half of a surrogate pair as an escape."""
    return json.dumps(body).encode()


@pytest.fixture(scope="module")
def gateway(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """The real gateway over an engine that answers at once: its URL, a key, and where it logs."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    with gateway_only(ServingConfig(port=free_port()), folder / "keys", logs=folder / "logs") as url:
        yield url, Keys(folder / "keys").create("test", tenant="acme")[1], folder / "logs"


def statuses(url: str, bodies: list[bytes], headers: dict[str, str]) -> Counter[int]:
    """Of all of them, eight at a time."""

    async def ask(client: httpx.AsyncClient, room: asyncio.Semaphore, body: bytes) -> int:
        async with room:
            answer = await client.post(url, content=body, headers=headers)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}, answer.text
        return answer.status_code

    async def ask_all() -> list[int]:
        room = asyncio.Semaphore(8)
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(ask(client, room, body) for body in bodies))

    return Counter(asyncio.run(ask_all()))


def test_two_hundred_values_in_every_field(gateway: tuple[str, str, Path]) -> None:
    url, secret, logs = gateway
    assert len(TEXTS) >= 200
    headers = {"Authorization": f"Bearer {secret}"}
    for name, made in FIELDS.items():
        found = statuses(f"{url}/chat/completions", [encoded(made(text)) for text in TEXTS], headers)
        assert all(status < 500 for status in found), (name, found)
    logged = "".join(path.read_text() for path in logs.glob("*.jsonl"))
    assert logged.count("\n") >= len(TEXTS) * len(FIELDS), "one line each, whatever stands in them"
    assert SECRET_QUESTION not in logged and secret not in logged
    assert all(json.loads(line) for line in logged.splitlines())


def test_two_hundred_values_as_a_key_and_as_an_id(gateway: tuple[str, str, Path]) -> None:
    url, _, logs = gateway
    sendable = [text for text in TEXTS if re.fullmatch(r"[\t\x20-\x7e\x80-\xff]+", text) and text.strip() == text]
    assert len(sendable) >= 100
    for text in sendable:
        headers = {"Authorization": f"Bearer {text}".encode("latin-1"), "X-Request-Id": text.encode("latin-1")}
        answer = httpx.post(f"{url}/chat/completions", content=encoded(CHAT), headers=headers, timeout=30)
        assert answer.status_code == 401
        assert answer.headers["x-request-id"] == text or answer.headers["x-request-id"].startswith("req-")
    assert all(json.loads(line) for path in logs.glob("*.jsonl") for line in path.read_text().splitlines())


def test_the_real_engine_and_store_bear_them_too(endpoint: Endpoint) -> None:
    url = f"{endpoint.url}/chat/completions"
    prompts = [CHAT | {"messages": [{"role": "user", "content": text}]} for text in TEXTS]
    searched = [body | {"model": f"base+{COLLECTION}"} for body in prompts[::4]]
    found = statuses(url, [encoded(body) for body in [*prompts, *searched]], {})
    assert set(found) <= {200, 400} and found[200] > len(TEXTS) / 2, found


def test_no_request_that_the_document_allows_or_forbids_is_a_failure_of_the_server(endpoint: Endpoint) -> None:
    document = schemathesis.openapi.from_url(f"{endpoint.root}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def hold(case: Any) -> None:
            if isinstance(case.body, dict) and "max_tokens" in case.body:
                case.body["max_tokens"] = 2
            case.call_and_validate(checks=[not_a_server_error], timeout=100)

        hold()
