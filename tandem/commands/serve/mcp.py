"""`tandem mcp`: the project's documents for an agent that starts this command (MCP over standard input and output)."""

import threading
from contextlib import ExitStack
from typing import Any

import anyio

from cluster.errors import TandemError
from cluster.jobs.wheel import package_version
from retrieval.filters.filter_json import parse_filter
from retrieval.filters.rights import Rights
from retrieval.mcp_server import Passage, Refused, SearchArguments, make_mcp_server
from retrieval.search.search import Searcher
from tandem.commands.options import DEFAULT, Labels, ProjectFile, Tenant
from tandem.pipeline.documents import milvus
from tandem.project.project import Project, load


def serve_documents(tenant: Tenant = None, label: Labels = None, config: ProjectFile = DEFAULT) -> None:
    """Let an agent search the project's documents over MCP.

    The agent starts this command and talks to it by standard input and output. It finds what a caller of the tenant
    with the labels finds, and without them only what is for everybody. The endpoint serves the same at /mcp, with the
    rights of each caller's API key.
    """
    project, rights = load(config), Rights(tenant, frozenset(label or ()))
    with ExitStack() as held:
        anyio.run(_serve, ProjectKnowledge(project, rights, held))


async def _serve(knowledge: "ProjectKnowledge") -> None:
    from mcp.server.stdio import stdio_server

    server = make_mcp_server(knowledge, package_version())
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class ProjectKnowledge:
    """The project's collection, with the rights of one caller. Store and model are opened by the first search, since
    an agent waits for the answer to its greeting."""

    def __init__(self, project: Project, rights: Rights, held: ExitStack) -> None:
        self._project, self._rights, self._held = project, rights, held
        self._opening = threading.Lock()
        self._opened: Searcher | None = None

    async def collections(self, request: Any) -> list[str]:
        return [self._project.collection]

    async def search(self, request: Any, collection: str, asked: SearchArguments) -> list[Passage]:
        return await anyio.to_thread.run_sync(self._search, collection, asked)

    def _search(self, collection: str, asked: SearchArguments) -> list[Passage]:
        if collection != self._project.collection:
            raise Refused(f"There is no collection {collection[:100]!r}. There is `{self._project.collection}`.")
        try:
            where = parse_filter(asked.filter) if asked.filter is not None else None
            result = self._searcher().search(collection, asked.query, asked.top_k, rights=self._rights, where=where)
        except TandemError as error:
            raise Refused(str(error)) from error
        return [
            Passage(source=hit.source, citation=hit.citation, title=hit.title, text=hit.text, score=hit.score)
            for hit in result.hits
        ]

    def _searcher(self) -> Searcher:
        with self._opening:
            if self._opened is None:
                uri = self._held.enter_context(milvus(self._project))
                self._opened = Searcher(self._project.retrieval, uri)
                self._held.callback(self._opened.close)
            return self._opened
