"""The retrieval deployment, in a process of its own: it embeds, searches and scores.

`Batcher` puts work together that is cheaper together: the items that arrive while a batch is computed are the next
batch, and no item waits for a batch to fill.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from cluster.errors import TandemError
from cluster.session import serve_log_kept
from retrieval.config import RetrievalConfig
from retrieval.errors import RetrievalUnavailable, UnknownCollection
from retrieval.filters.filters import Filter
from retrieval.filters.rights import Rights
from retrieval.search.hits import Hit
from retrieval.search.search import Searcher, SearchModels
from serving.engine.start_turns import start_turn

NUM_THREADS = 32
"""Searches at once: each waits for the store most of its time."""
MAX_BATCH = 64
"""Questions that are embedded together."""
_log = logging.getLogger(__name__)


WorkResult = TypeVar("WorkResult")


@dataclass(frozen=True)
class Retrieval:
    """What was found, or why nothing was: `status` is that of the answer to the user."""

    status: int
    reason: str = ""
    hits: list[Hit] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """What the search went on without, and why."""


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of texts, or why there are none."""

    status: int
    reason: str = ""
    rows: list[bytes] = field(default_factory=list)
    """Each float32, little-endian."""
    num_tokens: int = 0


@dataclass(frozen=True)
class ScoredTexts:
    """A score for each text, or why there is none."""

    status: int
    reason: str = ""
    scores: list[float] = field(default_factory=list)
    num_tokens: int = 0


class Retriever:
    """Holds one Searcher. A store that is down at the start is tried again with every question.

    Args:
        device: where questions are embedded and candidates reranked, as torch writes it.

    Raises:
        TandemError: a model cannot be loaded, or there is no such device.
    """

    def __init__(self, config: RetrievalConfig, uri: str, device: str = "cpu") -> None:
        self._config, self._uri = config, uri
        # An engine that starts measures its memory by what is free on the GPU, which may not change meanwhile.
        with serve_log_kept(), start_turn() if device.startswith("cuda") else nullcontext():
            self._models = SearchModels.load(config, device)
        self._searcher: Searcher | None = None
        self._opening = threading.Lock()
        self._threads = ThreadPoolExecutor(NUM_THREADS, "search")
        self._computing = ThreadPoolExecutor(1, "embed")
        self._batches = Batcher(self._embed_questions, MAX_BATCH)
        with serve_log_kept(), suppress(RetrievalUnavailable):
            self._open()

    async def search(
        self, collection: str, question: str, top_k: int | None, rights: Rights, where: Filter | None = None
    ) -> Retrieval:
        """The best passages that the caller may see; top_k None takes the project's."""
        started = time.perf_counter()
        try:
            vector = None if self._config.mode == "bm25" else await self._batches.submit(question)
        except TandemError as error:
            return Retrieval(503 if isinstance(error, RetrievalUnavailable) else 409, str(error))
        embed_ms = round(1e3 * (time.perf_counter() - started), 2)
        result = await self._in(self._threads, self._search, collection, question, top_k, rights, where, vector)
        if vector is not None and result.status == 200:
            result.timings.update(embed_ms=embed_ms, took_ms=round(result.timings["took_ms"] + embed_ms, 2))
        return result

    async def collections(self) -> list[str] | None:
        """Names of what can be searched; None while the store is down."""
        return await self._in(self._threads, self._collections)

    async def embed(self, texts: list[str], as_questions: bool) -> Vectors:
        """The vectors of texts, as passages are embedded, or as questions."""
        return await self._in(self._computing, self._embed, texts, as_questions)

    async def score(self, pairs: list[tuple[str, str]], with_reranker: bool) -> ScoredTexts:
        """How well each text answers its question: by the reranker, or by the cosine of their vectors."""
        return await self._in(self._computing, self._score, pairs, with_reranker)

    async def _embed_questions(self, questions: list[str]) -> list[list[float]]:
        with _failures_told():
            vectors = await self._in(self._computing, self._models.embedder.embed_questions, questions)
        return [[float(x) for x in vector] for vector in vectors]

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[..., WorkResult], *arguments: Any) -> WorkResult:
        return await asyncio.get_running_loop().run_in_executor(threads, partial(work, *arguments))

    def _search(
        self,
        collection: str,
        question: str,
        top_k: int | None,
        rights: Rights,
        where: Filter | None,
        vector: list[float] | None,
    ) -> Retrieval:
        try:
            with _failures_told():
                result = self._open().search(collection, question, top_k, rights=rights, where=where, vector=vector)
        except UnknownCollection as error:
            # The error names all collections; the caller's key may not be for all of them.
            return Retrieval(404, f"{error.seen} GET /v1/models lists those that you may search.")
        except RetrievalUnavailable as error:
            return Retrieval(503, str(error))
        except TandemError as error:
            return Retrieval(409, str(error))
        return Retrieval(200, hits=result.hits, timings=result.timings, missing=dict(result.missing))

    def _embed(self, texts: list[str], as_questions: bool) -> Vectors:
        embedder = self._models.embedder
        try:
            num_tokens = self._fitting(texts)
            with _failures_told():
                vectors = embedder.embed_questions(texts) if as_questions else embedder.embed_documents(texts)
        except RetrievalUnavailable as error:
            return Vectors(503, str(error))
        except TandemError as error:
            return Vectors(400, str(error))
        return Vectors(200, rows=[vector.astype("<f4").tobytes() for vector in vectors], num_tokens=num_tokens)

    def _score(self, pairs: Sequence[tuple[str, str]], with_reranker: bool) -> ScoredTexts:
        embedder, reranker = self._models.embedder, self._models.reranker
        num_tokens = sum(embedder.count_tokens(text) for pair in pairs for text in pair)
        if with_reranker and reranker is None:
            return ScoredTexts(404, "No reranker is served: the project file sets no `retrieval.reranker`.")
        try:
            with _failures_told():
                if with_reranker and reranker is not None:
                    return ScoredTexts(200, scores=reranker.scores(pairs), num_tokens=num_tokens)
                row = {question: n for n, question in enumerate(dict.fromkeys(question for question, _ in pairs))}
                questions = embedder.embed_questions(list(row))
                texts = embedder.embed_documents([text for _, text in pairs])
        except TandemError as error:
            return ScoredTexts(503 if isinstance(error, RetrievalUnavailable) else 400, str(error))
        scores = [float(questions[row[question]] @ text) for (question, _), text in zip(pairs, texts, strict=True)]
        return ScoredTexts(200, scores=scores, num_tokens=num_tokens)

    def _fitting(self, texts: Sequence[str]) -> int:
        """Their tokens. Raises TandemError where one is longer than the model reads: it would be cut."""
        embedder, total = self._models.embedder, 0
        for number, text in enumerate(texts):
            if (length := embedder.count_tokens(text)) > embedder.max_tokens:
                raise TandemError(
                    f"Text {number} has {length} tokens.",
                    f"The model {embedder.name} reads {embedder.max_tokens}.",
                    "Cut it into parts.",
                )
            total += length
        return total

    def _collections(self) -> list[str] | None:
        try:
            return self._open().collections()
        except RetrievalUnavailable:
            return None

    def _open(self) -> Searcher:
        with self._opening:
            if self._searcher is None:
                self._searcher = Searcher(self._config, self._uri, models=self._models)
                _one_thread()
            return self._searcher


@contextmanager
def _failures_told() -> Iterator[None]:
    """Raises RetrievalUnavailable for torch's RuntimeError, such as OutOfMemoryError: the next search may find room."""
    try:
        yield
    except RuntimeError as error:
        _log.exception("A model of the retriever failed.")
        raise RetrievalUnavailable(
            f"Retrieval could not compute: {str(error).strip().split(chr(10))[0].rstrip('.')}.",
            "A device with free memory for the embedding model, the reranker and a batch of texts.",
            "Ask again. If it happens often, raise `serving.gpus_per_retriever`, or set it to 0 to compute on a CPU.",
        ) from error


def _one_thread() -> None:
    """A question is too short to share among threads, and they would spin on cores that the engine needs. What loads
    torch later, for a text that is longer than the model's export reads, sets it then."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


BatchItem = TypeVar("BatchItem")
BatchResult = TypeVar("BatchResult")


class Batcher(Generic[BatchItem, BatchResult]):
    """Not Serve's own decorator: that one works inside of a replica only.

    Args:
        compute: gives a result for each item, in their order.
        most: items in one batch.
    """

    def __init__(self, compute: Callable[[list[BatchItem]], Awaitable[list[BatchResult]]], most: int) -> None:
        self._compute, self._most = compute, most
        self._waiting: list[tuple[BatchItem, asyncio.Future[BatchResult]]] = []
        self._computing: asyncio.Task[None] | None = None

    async def submit(self, item: BatchItem) -> BatchResult:
        """The item's result. Raises what its batch raised."""
        result: asyncio.Future[BatchResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._computing is None or self._computing.done():
            self._computing = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            waiting = [(item, result) for item, result in batch if not result.done()]
            try:
                results = await self._compute([item for item, _ in waiting]) if waiting else []
            except Exception as error:  # noqa: BLE001  # whoever waits gets it
                for _, result in waiting:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), value in zip(waiting, results, strict=True):
                if not result.done():
                    result.set_result(value)
