"""How fast search and indexing are beside bare pymilvus and the bare embedding model, on Milvus Lite and on the server.

python -m benchmarks.retrieval                  # about fifteen minutes on two cores
python -m benchmarks.retrieval --small          # a tenth of the rows, to see that it runs; writes nothing
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import numpy as np
import psutil

from benchmarks.results import ratio_row, row, write
from retrieval.config import RetrievalConfig
from retrieval.embedding import Embedder
from retrieval.filters import encode
from retrieval.indexing import follow, index
from retrieval.legs import Legs
from retrieval.local import local_server, running
from retrieval.names import alias_of
from retrieval.rights import NOBODY, allowed
from retrieval.schema import Row, Settings
from retrieval.search import Searcher
from retrieval.store import Store

LITE_CHUNKS, SERVER_CHUNKS, DIMENSIONS, TOP_K = 10_000, 200_000, 384, 10
CONCURRENCY, NUM_SEARCHES, NUM_RECALL = (1, 8, 32), 400, 200
Search = Callable[[int], Any]


def main() -> None:
    """Measure on both stores and write benchmarks/results/retrieval-<machine>.json."""
    scale = 10 if "--small" in sys.argv else 1
    with tempfile.TemporaryDirectory() as scratch:
        rows = [*on_lite(Path(scratch) / "lite", LITE_CHUNKS // scale)]
        rows += on_server(Path(scratch) / "server", SERVER_CHUNKS // scale)
    notes = (
        f"{DIMENSIONS} dimensions, top {TOP_K}, HNSW, cosine. Lite: {LITE_CHUNKS} chunks of generated prose, hybrid "
        "search (dense, BM25, reciprocal ranks), the question's embedding included on both sides. Server 2.3.5: "
        f"{SERVER_CHUNKS} vectors around 2,000 random centres, dense search. {NUM_SEARCHES} searches at each "
        "concurrency on each side, in turn."
    )
    if scale == 1:
        print(write("retrieval", rows, notes))
    else:
        print(*rows, sep="\n")


def on_lite(folder: Path, num_chunks: int) -> Iterator[dict[str, Any]]:
    """Real text through the whole path: documents, chunks, embedding, Milvus Lite, hybrid search."""
    documents = write_documents(folder / "docs", num_chunks)
    config = RetrievalConfig(sources=[documents], top_k=TOP_K, timeout_s=60)
    embedder = Embedder(config.embedding_model)
    with local_server(folder / "milvus") as uri:
        report = index(config, "benchmark", uri, lambda _: None)
        texts = contents(uri, "benchmark")
        started = time.perf_counter()
        embedder.embed_documents(texts)
        bare = len(texts) / (time.perf_counter() - started)
        yield ratio_row(
            "ingest_vs_embedding_rate", "chunks/s", report.num_chunks / report.seconds, bare,
            f"embedding alone, Lite, {report.num_chunks} chunks", ">= 0.9",
        )  # fmt: skip
        searcher, questions = Searcher(config, uri), [f"{text[:60]}?" for text in Random(1).sample(texts, 100)]
        client = searcher._store.client

        def ours(number: int) -> Any:
            return searcher.search("benchmark", questions[number % len(questions)]).hits

        def bare_pymilvus(number: int) -> Any:
            question = questions[number % len(questions)]
            return bare_hybrid(client, searcher._embedder.embed_question(question), question)

        yield from latencies(ours, bare_pymilvus, "Lite")
        yield row("insert_to_searchable_s", "s", saved_to_searchable(config, documents, uri, searcher), "<= 2")
        address = running(folder / "milvus")
        assert address
        yield row("index_memory_gib", "GiB", resident(address.pid), None)
        searcher.close()


def on_server(folder: Path, num_chunks: int) -> Iterator[dict[str, Any]]:
    """Many vectors through our store, beside the same requests in pymilvus, and brute force."""
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((2_000, DIMENSIONS), dtype=np.float32))
    vectors = unit(
        centres[rng.integers(2_000, size=num_chunks)]
        + 0.06 * rng.standard_normal((num_chunks, DIMENSIONS), dtype=np.float32)
    )
    asked = unit(
        centres[rng.integers(2_000, size=NUM_RECALL)]
        + 0.06 * rng.standard_normal((NUM_RECALL, DIMENSIONS), dtype=np.float32)
    )
    with milvus_server(folder) as (uri, pid):
        store = Store(uri, timeout_s=60)
        physical = store.ensure("benchmark", Settings("generated", DIMENSIONS, 1, 1, bm25=False))
        for start in range(0, num_chunks, 10_000):
            store.upsert(
                physical,
                [chunk_of(number, vectors[number]) for number in range(start, min(start + 10_000, num_chunks))],
            )
        store.load(physical)
        store.finish(physical)
        store.publish("benchmark", physical)
        wait_until_indexed(store, physical, num_chunks)
        questions = [vector.tolist() for vector in asked]
        legs = Legs(store)
        found = [
            {hit.position for hit in legs.dense("benchmark", question, allowed(NOBODY), TOP_K, 60)}
            for question in questions
        ]
        nearest = np.argsort(-(asked @ vectors.T), axis=1)[:, :TOP_K]
        shares = [len(mine & set(true.tolist())) / TOP_K for mine, true in zip(found, nearest, strict=True)]
        yield ratio_row(
            "recall_at_10", "share", float(np.mean(shares)), 1.0, f"brute force, server, {num_chunks} chunks", ">= 0.95"
        )

        def ours(number: int) -> Any:
            return legs.dense("benchmark", questions[number % NUM_RECALL], allowed(NOBODY), TOP_K, 60)

        def bare(number: int) -> Any:
            return bare_dense(store.client, questions[number % NUM_RECALL])

        yield from latencies(ours, bare, "server")
        yield row("index_memory_gib", "GiB", resident(pid), None)
        store.close()


def latencies(ours: Search, bare: Search, store: str) -> Iterator[dict[str, Any]]:
    """p50 and p99 at each concurrency, measured in turn so that a slow minute hits both."""
    for concurrency in CONCURRENCY:
        figures: dict[str, list[float]] = {"ours": [], "bare": []}
        for part in range(4):
            figures["ours"] += timed(ours, concurrency, NUM_SEARCHES // 4, part)
            figures["bare"] += timed(bare, concurrency, NUM_SEARCHES // 4, part)
        mine, theirs = figures["ours"], figures["bare"]
        name = f"pymilvus, {store}, {concurrency} at once"
        yield ratio_row("search_p50_vs_pymilvus", "s", median(mine), median(theirs), name, "<= 1.1")
        yield ratio_row("search_p99_vs_pymilvus", "s", p99(mine), p99(theirs), name, "<= 1.1")


def timed(search: Search, concurrency: int, number: int, part: int) -> list[float]:
    """Seconds of each search, `concurrency` of them at a time."""

    def once(which: int) -> float:
        started = time.perf_counter()
        assert search(which)
        return time.perf_counter() - started

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(once, range(concurrency)))  # not counted
        return list(pool.map(once, range(part * number, (part + 1) * number)))


def bare_hybrid(client: Any, vector: list[float], question: str) -> Any:
    """The request that Tandem sends for a hybrid search, straight to pymilvus."""
    from pymilvus import AnnSearchRequest, RRFRanker

    visible = encode(allowed(NOBODY))
    legs = [
        AnnSearchRequest([vector], "vector", {"metric_type": "COSINE", "params": {"ef": 64}}, limit=50, expr=visible),
        AnnSearchRequest([question], "sparse", {"metric_type": "BM25"}, limit=50, expr=visible),
    ]
    fields = ["source", "position", "content"]
    return client.hybrid_search(
        alias_of("benchmark"), legs, RRFRanker(60), limit=TOP_K, output_fields=fields, timeout=60
    )[0]


def bare_dense(client: Any, vector: list[float]) -> Any:
    """The request that Tandem sends for a dense search, straight to pymilvus."""
    return client.search(
        alias_of("benchmark"), data=[vector], anns_field="vector", limit=TOP_K, timeout=60,
        search_params={"metric_type": "COSINE", "params": {"ef": 64}}, output_fields=["source", "position", "content"],
        filter=encode(allowed(NOBODY)),
    )[0]  # fmt: skip


def saved_to_searchable(config: RetrievalConfig, documents: Path, uri: str, searcher: Searcher) -> float:
    """The median of seconds from a file's save to the first search that finds it, with the folder followed."""
    stop, ready = threading.Event(), threading.Event()
    watch = threading.Thread(
        target=follow, args=(config, "benchmark", uri, lambda _: ready.set(), lambda _: None, stop), daemon=True
    )
    watch.start()
    assert ready.wait(300)
    seconds = []
    for number in range(5):
        name = f"new-{number}.md"
        (documents / name).write_text(f"# Novelty {number}\n\nThe marker of novelty {number} is zx{number}qv.\n")
        saved = time.perf_counter()
        while name not in {hit.source for hit in searcher.search("benchmark", f"What is zx{number}qv?").hits}:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - saved)
    stop.set()
    watch.join(30)
    return round(median(seconds), 3)


def write_documents(folder: Path, num_chunks: int) -> Path:
    """Ten chunks of about 120 words in each document, of words that come as often as words do."""
    folder.mkdir(parents=True)
    rng = Random(0)
    letters = "aeioulnrstmdkpg"
    words = ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    for number in range(num_chunks // 10):
        parts = [f"## Part {part}\n\n{' '.join(rng.choices(words, weights, k=60))}.\n" for part in range(10)]
        (folder / f"{number:05}.md").write_text(f"# Document {number}\n\n" + "\n".join(parts))
    return folder


def contents(uri: str, collection: str) -> list[str]:
    """The text of every chunk, as it was embedded."""
    store = Store(uri)
    pages = store.client.query_iterator(
        alias_of(collection), batch_size=1000, filter='id != ""', output_fields=["content"]
    )
    found = []
    while page := pages.next():
        found += [each["content"] for each in page]
    pages.close()
    store.close()
    return found


def chunk_of(number: int, vector: Any) -> Row:
    return Row(f"{number:032}", f"{number // 10}.md", "", 10, number, f"Chunk\n{number}", vector.tolist())


def wait_until_indexed(store: Store, physical: str, num_rows: int) -> None:
    """Until the server has built its graph over every row: what is not in it is searched by brute force."""
    while True:
        found = store.client.describe_index(physical, "vector")
        if int(found.get("indexed_rows", 0)) >= num_rows and not int(found.get("pending_index_rows", 0)):
            return
        time.sleep(2)


@contextmanager
def milvus_server(folder: Path) -> Iterator[tuple[str, int]]:
    """The server of the package `milvus`: its URI and its process id."""
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(str(folder))
    server.start()
    try:
        yield f"http://127.0.0.1:{server.listen_port}", server.server_proc.pid
    finally:
        server.stop()


def resident(pid: int) -> float:
    """Memory of a process and its children in GiB."""
    process = psutil.Process(pid)
    return round(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**30, 2)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    main()
