"""How fast search and indexing are beside bare pymilvus and the bare embedding model, on Milvus Lite and on the server.

python -m benchmarks.retrieval                  # about forty minutes on two cores
python -m benchmarks.retrieval --small          # a tenth of the rows, to see that it runs; writes nothing
"""

import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import joblib
import numpy as np

from benchmarks.results import ratio_row, row, write
from benchmarks.retrieval_cold import cold_commands
from benchmarks.retrieval_data import clustered, milvus_server, pdf, resident_gib, rows_of, write_documents
from benchmarks.retrieval_load import bare_dense, bare_hybrid, latencies
from retrieval.config import RetrievalConfig
from retrieval.embedding.embedder import FEW_TEXTS, Embedder
from retrieval.filters.rights import NOBODY, allowed
from retrieval.index import chunking
from retrieval.index.indexing import follow_changes, index_documents
from retrieval.search.retrievers import CANDIDATES, Retrievers
from retrieval.search.search import Searcher
from retrieval.sources.config import ParsingConfig
from retrieval.sources.parsing.parse import parse_here
from retrieval.sources.parsing.processes import ParserProcesses
from retrieval.sources.sources import all_documents
from retrieval.store.collection import CollectionSettings
from retrieval.store.index_parameters import search_parameters
from retrieval.store.milvus_lite import local_server, running_server
from retrieval.store.store import Store

LITE_CHUNKS, SERVER_CHUNKS, FLAT_DOCUMENTS, COLD_CHUNKS = 10_000, 200_000, 20_000, 100_000
COLD_DOCUMENTS = 600
DIMENSIONS, TOP_K, NUM_ASKED = 384, 10, 200
LITE_SEARCHES, SERVER_SEARCHES = 600, 6_000
PDF_PAGES = 1_000
NAME = "benchmark"
ROWS_AT_ONCE = 5_000
NUM_LOOKS = 6
Measured = Iterator[dict[str, Any]]
Server = AbstractContextManager[tuple[str, int]]


def main() -> None:
    """Measure on both stores and write benchmarks/results/retrieval-<machine>.json."""
    scale = 10 if "--small" in sys.argv else 1
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, measure, sizes in (
            ("commands", cold_commands, (COLD_DOCUMENTS,)),
            ("lite", on_lite, (LITE_CHUNKS, LITE_SEARCHES)),
            ("parsing", parsing, (PDF_PAGES,)),
            ("memory", memory_of_indexing, (FLAT_DOCUMENTS,)),
            ("cold", cold_lite, (COLD_CHUNKS,)),
            ("server", on_server, (SERVER_CHUNKS, SERVER_SEARCHES)),
        ):
            folder = Path(scratch) / name
            folder.mkdir()
            for found in measure(folder, *(size // scale for size in sizes)):
                print(found, flush=True)
                rows.append(found)
    notes = (
        f"{DIMENSIONS} dimensions, top {TOP_K}, HNSW, cosine. Lite: {LITE_CHUNKS} chunks of generated prose, hybrid "
        "search (dense, BM25, fused), the question's embedding included on both sides; bare pymilvus lets the server "
        f"fuse. Server 2.3.5: {SERVER_CHUNKS} vectors spread as those of real texts are, dense search. "
        f"{LITE_SEARCHES} and {SERVER_SEARCHES} searches at each concurrency on each side, in turn. A cold start is "
        "from no server to the first answer; the embedding model is loaded in between. The server's "
        "common.session.ttl is 5 s."
    )
    if scale == 1:
        print(write("retrieval", rows, notes))


def on_lite(folder: Path, num_chunks: int, num_searches: int) -> Measured:
    """Real text through the whole path: documents, chunks, embedding, Milvus Lite, hybrid search."""
    source = write_documents(folder / "docs", num_chunks // 10)
    config = RetrievalConfig(sources=[source], top_k=TOP_K, timeout_s=60)
    with lite_server(folder / "milvus") as (uri, pid):
        yield ingest(config, uri, "Lite")
        texts = contents(config)
        searcher, questions = Searcher(config, uri), [f"{text[:60]}?" for text in Random(1).sample(texts, 100)]
        client, ef = searcher._store.client, search_parameters(config.milvus, CANDIDATES)["ef"]

        def ours(number: int) -> Any:
            return searcher.search(NAME, questions[number % len(questions)]).hits

        def bare(number: int) -> Any:
            question = questions[number % len(questions)]
            return bare_hybrid(client, searcher._embedder.embed_question(question), question, TOP_K, ef)

        yield from latencies(ours, bare, "Lite", num_searches)
        yield saved_to_searchable(config, source, uri, "Lite")
        yield row("index_memory_gib: Lite", "GiB", resident_gib(pid))
        searcher.close()


def on_server(folder: Path, num_chunks: int, num_searches: int) -> Measured:
    """Many vectors through our store, beside the same requests in pymilvus, and brute force."""
    vectors, asked = clustered(num_chunks, DIMENSIONS), clustered(NUM_ASKED, DIMENSIONS, seed=1)
    with milvus_server(folder / "milvus") as (uri, pid):
        store = Store(uri, timeout_s=60)
        fill(store, vectors, Embedder(RetrievalConfig().embedding_model).identity)
        questions, legs = [vector.tolist() for vector in asked], Retrievers(store)
        ef = search_parameters(RetrievalConfig().milvus, TOP_K)["ef"]

        def ours(number: int) -> Any:
            return legs.dense(NAME, questions[number % NUM_ASKED], allowed(NOBODY), TOP_K, 60)

        def bare(number: int) -> Any:
            return bare_dense(store.client, questions[number % NUM_ASKED], TOP_K, ef)

        nearest = np.argsort(-(asked @ vectors.T), axis=1)[:, :TOP_K].tolist()

        def recall() -> float:
            found = [{hit.position for hit in ours(number)} for number in range(NUM_ASKED)]
            return float(np.mean([len(mine & set(true)) / TOP_K for mine, true in zip(found, nearest, strict=True)]))

        name = f"brute force, server, {num_chunks} chunks"
        found = wait_until_indexed(store, num_chunks, recall)
        yield ratio_row("recall_at_10", "share", found, 1.0, name, ">= 0.95")
        yield from latencies(ours, bare, "server", num_searches)
        yield row("index_memory_gib: server", "GiB", resident_gib(pid))
        source = write_documents(folder / "docs", num_chunks // 1000)
        config = RetrievalConfig(sources=[source], mode="dense", top_k=TOP_K, timeout_s=60)
        yield ingest(config, uri, "server", "ingest")
        yield saved_to_searchable(config, source, uri, "server", "ingest")
        store.close()
    yield from cold(lambda: milvus_server(folder / "milvus"), config, f"server, {num_chunks} chunks")


def cold_lite(folder: Path, num_chunks: int) -> Measured:
    """Milvus Lite with many vectors, from nothing to an answer."""
    config = RetrievalConfig(mode="dense", top_k=TOP_K, timeout_s=60)
    with lite_server(folder) as (uri, _):
        store = Store(uri, timeout_s=60)
        fill(store, clustered(num_chunks, DIMENSIONS), Embedder(config.embedding_model).identity)
        store.close()
    yield from cold(lambda: lite_server(folder), config, f"Lite, {num_chunks} chunks")


def cold(server: Callable[[], Server], config: RetrievalConfig, name: str) -> Measured:
    """From no server to the first answer, and of that what comes once the server listens."""
    started = time.perf_counter()
    with server() as (uri, pid):
        listens = time.perf_counter()
        searcher = Searcher(config, uri)
        while not (searcher.search(NAME, "What is it?").hits):
            time.sleep(0.05)
        answered = time.perf_counter()
        yield row(f"cold_start_s: {name}", "s", round(answered - started, 2), "<= 10")
        yield row(f"opened_s: {name}, once the server listens", "s", round(answered - listens, 2), "<= 10")
        yield row(f"index_memory_gib: {name}, cold", "GiB", resident_gib(pid))
        searcher.close()


@contextmanager
def lite_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Milvus Lite's URI and process id."""
    with local_server(folder) as uri:
        address = running_server(folder)
        assert address
        yield uri, address.pid


def parsing(folder: Path, num_pages: int) -> Measured:
    """Pages of PDFs a second by all processes and by one, and the time that one document of them all takes."""
    cores = int(joblib.cpu_count())
    documents = [pdf(num_pages // 20, seed) for seed in range(20)]
    rates = {}
    for num_processes in (1, cores):
        parsers = ParserProcesses(ParsingConfig(processes=num_processes), lambda _: None)
        with ThreadPoolExecutor(num_processes) as threads:
            list(threads.map(parsers.parse, documents[:num_processes], [".pdf"] * num_processes))  # all have started
            started = time.perf_counter()
            list(threads.map(parsers.parse, documents, [".pdf"] * len(documents)))
            rates[num_processes] = round(num_pages / (time.perf_counter() - started), 1)
        parsers.close()
    yield ratio_row(f"parse_pages_per_s: {cores} processes", "pages/s", rates[cores], rates[1], "one process")
    whole = pdf(num_pages)
    started = time.perf_counter()
    parse_here(whole, ".pdf", None, None)
    yield row(f"parse_s: one PDF of {num_pages} pages", "s", round(time.perf_counter() - started, 1), "<= 60")


def memory_of_indexing(folder: Path, num_documents: int) -> Measured:
    """The most memory that indexing takes over that of its model, for a quarter of the documents and for all."""
    for number in (num_documents // 4, num_documents):
        source = write_documents(folder / f"docs-{number}", number, parts=1, words=8)
        with local_server(folder / f"milvus-{number}") as uri, multiprocessing.get_context("spawn").Pool(1) as pool:
            gib = pool.apply(peak_over_model, (source, uri))
        yield row(f"indexing_memory_gib: {number} documents", "GiB", gib, "<= 2")


def peak_over_model(source: Path, uri: str) -> float:
    """Index in this process, which has done nothing else; GiB at its peak less those with the model loaded."""
    config = RetrievalConfig(sources=[source])
    Embedder(config.embedding_model).embed_documents(["The first text is slow."] * (FEW_TEXTS + 1))
    loaded = peak_gib()
    index_documents(config, NAME, uri, lambda _: None)
    return round(peak_gib() - loaded, 3)


def peak_gib() -> float:
    """The most memory that this process has had. `ru_maxrss` would count its parent's too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def ingest(config: RetrievalConfig, uri: str, store: str, collection: str = NAME) -> dict[str, Any]:
    """Chunks a second from files to a searchable collection, beside the embedding of the same texts alone."""
    report, texts = index_documents(config, collection, uri, lambda _: None), contents(config)
    assert len(texts) == report.num_chunks == report.num_embedded
    embedder = Embedder(config.embedding_model)
    embedder.embed_documents(texts[: FEW_TEXTS + 1])
    started = time.perf_counter()
    for start in range(0, len(texts), 512):
        embedder.embed_documents(texts[start : start + 512])
    bare = len(texts) / (time.perf_counter() - started)
    name = f"embedding alone, {store}, {len(texts)} chunks"
    return ratio_row("ingest_vs_embedding_rate", "chunks/s", report.num_chunks / report.seconds, bare, name, ">= 0.9")


def saved_to_searchable(
    config: RetrievalConfig, source: Path, uri: str, store: str, collection: str = NAME
) -> dict[str, Any]:
    """The median of seconds from a file's save to the first search that finds it, with the folder followed."""
    stop, ready, seconds, searcher = threading.Event(), threading.Event(), [], Searcher(config, uri)
    watch = threading.Thread(
        target=follow_changes, args=(config, collection, uri, lambda _: ready.set(), lambda _: None, stop), daemon=True
    )
    watch.start()
    assert ready.wait(300)
    for number in range(5):
        name = f"new-{number}.md"
        (source / name).write_text(f"# Novelty {number}\n\nThe marker of novelty {number} is zx{number}qv.\n")
        saved = time.perf_counter()
        while name not in {hit.source for hit in searcher.search(collection, f"What is zx{number}qv?").hits}:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - saved)
    stop.set()
    watch.join(30)
    searcher.close()
    return row(f"insert_to_searchable_s: {store}", "s", round(median(seconds), 3), "<= 2")


def fill(store: Store, vectors: Any, model: str) -> None:
    """A collection of these vectors, as `index` would make it."""
    settings = CollectionSettings(model, DIMENSIONS, 200, chunking.VERSION, bm25=False)
    physical = store.ensure(NAME, settings)
    store.load(physical)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        store.upsert(physical, rows_of(vectors[start : start + ROWS_AT_ONCE], start))
    store.finish(physical)
    store.publish(NAME, physical)


def contents(config: RetrievalConfig) -> list[str]:
    """The text of every chunk, as it is embedded."""
    embedder = Embedder(config.embedding_model)
    return [
        f"{chunk.title}\n{chunk.text}"
        for document in all_documents(config.sources)
        for chunk in chunking.chunk_document(
            document.read(), Path(document.source).stem, config.chunk_tokens, embedder.count_tokens, document.markup
        )
    ]


def wait_until_indexed(store: Store, num_rows: int, recall: Callable[[], float]) -> float:
    """The recall once the server answers from the graph that it has built over every row.

    Until some time after it says so, 2.3.5 answers from an interim index that finds less.
    """
    while True:
        found = store.client.describe_index(store.current(NAME), "vector")
        if int(found.get("indexed_rows", 0)) >= num_rows and not int(found.get("pending_index_rows", 0)):
            break
        time.sleep(2)
    seen = [recall()]
    for _ in range(NUM_LOOKS):
        time.sleep(10)
        seen.append(recall())
    return seen[-1]


if __name__ == "__main__":
    main()
