"""The retrieval deployment: embeds a question and searches, in a process of its own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.errors import RetrievalUnavailable, UnknownCollection
from retrieval.hits import Hit
from retrieval.rights import Rights
from retrieval.search import Searcher

NUM_THREADS = 4


@dataclass(frozen=True)
class Retrieval:
    """What was found, or why nothing was: `status` is that of the answer to the user."""

    status: int
    reason: str = ""
    hits: list[Hit] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What the search went on without, and why."""


class Retriever:
    """Holds one Searcher. A store that is down at the start is tried again with every question."""

    def __init__(self, config: RetrievalConfig, uri: str) -> None:
        self._config, self._uri = config, uri
        self._searcher: Searcher | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(NUM_THREADS, "search")
        with suppress(RetrievalUnavailable):
            self._open()

    async def search(self, collection: str, question: str, top_k: int | None, rights: Rights) -> Retrieval:
        """The best passages that the caller may see; top_k None takes the project's."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._search, collection, question, top_k, rights
        )

    async def collections(self) -> list[str] | None:
        """Names of what can be searched; None while the store is down."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._collections)

    def _search(self, collection: str, question: str, top_k: int | None, rights: Rights) -> Retrieval:
        try:
            found = self._open().search(collection, question, top_k, rights=rights)
        except UnknownCollection as error:
            return Retrieval(404, str(error))
        except RetrievalUnavailable as error:
            return Retrieval(503, str(error))
        except TandemError as error:
            return Retrieval(409, str(error))
        return Retrieval(200, hits=found.hits, timings=found.timings, missing=dict(found.missing))

    def _collections(self) -> list[str] | None:
        try:
            return self._open().collections()
        except RetrievalUnavailable:
            return None

    def _open(self) -> Searcher:
        with self._opening:
            if self._searcher is None:
                self._searcher = Searcher(self._config, self._uri)
                _one_thread()
            return self._searcher


def _one_thread() -> None:
    """A question is too short to share among threads, and they would spin on cores that the engine needs."""
    import torch

    torch.set_num_threads(1)
