"""`tandem mcp`: a real agent's session over standard input and output, with a model and Milvus Lite."""

import asyncio
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.tandem.earlier import tandem

PROJECT = """
model: m
retrieval:
  sources:
    - docs
    - {path: staff, access: [hr], metadata: {year: 2024}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents") / "handbook"
    for name, text in {
        "docs/iron.md": "# Iron\n\nThe symbol of Iron is Fe.",
        "staff/pay.md": "# Pay\n\nPay is on Friday.",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "tandem.yaml").write_text(PROJECT)
    done = tandem(folder, "index")
    assert done.code == 0, done.err
    return folder


def command(project: Path, *options: str) -> StdioServerParameters:
    words = ["-m", "tandem", "mcp", *options]
    environment = {"PYTHONPATH": str(Path(__file__).parents[4])}
    return StdioServerParameters(command=sys.executable, args=words, cwd=project, env=environment)


def sources(project: Path, *options: str, query: str = "When is pay day?", **arguments: object) -> set[str]:
    """What an agent finds that starts the command with these options."""

    async def ask() -> set[str]:
        async with Client(command(project, *options), read_timeout_seconds=300) as client:
            listed = await client.call_tool("list_collections", {})
            assert listed.structured_content == {"collections": ["handbook"]}
            found = await client.call_tool("search", {"query": query, **arguments})
            assert not found.is_error, found.content
            return {passage["source"] for passage in found.structured_content["passages"]}

    return asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_agent_finds_what_its_caller_may_see(project: Path) -> None:
    assert sources(project) == {"docs/iron.md"}
    where = {"type": "eq", "key": "year", "value": 2024}
    assert sources(project, "--label", "hr", collection="handbook", filter=where) == {"staff/pay.md"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_wrong_is_said_to_the_agent(project: Path) -> None:
    async def ask() -> list[str]:
        wrong = [{"query": "x", "collection": "other"}, {"query": "x", "filter": {"type": "near"}}, {"top_k": 1}]
        async with Client(command(project), read_timeout_seconds=300) as client:
            results = [await client.call_tool("search", arguments) for arguments in wrong]
            assert all(result.is_error for result in results)
            return [result.content[0].text for result in results]  # type: ignore[union-attr]

    unknown, malformed, missing = asyncio.run(ask())
    assert unknown == "There is no collection 'other'. There is `handbook`."
    assert "The filter is malformed" in malformed and missing == "The arguments are wrong. query: Field required."


def test_without_a_project_the_command_ends_at_once(tmp_path: Path) -> None:
    done = tandem(tmp_path, "mcp")
    assert done.code == 2 and "tandem.yaml" in done.err and done.out == ""
