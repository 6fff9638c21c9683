"""Searches at several concurrencies, ours and bare pymilvus' in turn, so that a slow minute hits both."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Any

from benchmarks.results import ratio_row
from retrieval.filters.filters import encode
from retrieval.filters.rights import NOBODY, allowed
from retrieval.store.collection import alias_of

CONCURRENCY, NUM_TURNS = (1, 8, 32), 10
FIELDS = ["source", "position", "content"]
Search = Callable[[int], Any]


def latencies(ours: Search, bare: Search, store: str, num_searches: int) -> Iterator[dict[str, Any]]:
    """p50, p99 and searches a second at each concurrency, of so many searches; a search is given its number."""
    for concurrency in CONCURRENCY:
        mine, theirs = list[float](), list[float]()
        rates = {"ours": 0.0, "bare": 0.0}
        for turn in range(NUM_TURNS):
            for name, search, seconds in (("ours", ours, mine), ("bare", bare, theirs)):
                found, took = timed(search, concurrency, num_searches // NUM_TURNS, turn)
                seconds += found
                rates[name] += len(found) / took / NUM_TURNS
        name = f"pymilvus, {store}, {concurrency} at once"
        yield ratio_row("search_p50_vs_pymilvus", "s", median(mine), median(theirs), name, "<= 1.1")
        yield ratio_row("search_p99_vs_pymilvus", "s", p99(mine), p99(theirs), name, "<= 1.1")
        yield ratio_row("search_qps_vs_pymilvus", "1/s", rates["ours"], rates["bare"], name, ">= 0.9")


def timed(search: Search, concurrency: int, number: int, turn: int) -> tuple[list[float], float]:
    """Seconds of each search, `concurrency` of them at a time, and of all together."""

    def once(which: int) -> float:
        started = time.perf_counter()
        assert search(which)
        return time.perf_counter() - started

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(once, range(concurrency)))  # not counted
        started = time.perf_counter()
        found = list(pool.map(once, range(turn * number, (turn + 1) * number)))
        return found, time.perf_counter() - started


def bare_hybrid(client: Any, vector: list[float], question: str, top_k: int, ef: int) -> Any:
    """The request of a hybrid search straight to pymilvus, which lets the server fuse."""
    from pymilvus import AnnSearchRequest, RRFRanker

    visible = encode(allowed(NOBODY))
    legs = [
        AnnSearchRequest([vector], "vector", {"metric_type": "COSINE", "params": {"ef": ef}}, limit=50, expr=visible),
        AnnSearchRequest([question], "sparse", {"metric_type": "BM25"}, limit=50, expr=visible),
    ]
    return client.hybrid_search(
        alias_of("benchmark"), legs, RRFRanker(60), limit=top_k, output_fields=FIELDS, timeout=60
    )[0]


def bare_dense(client: Any, vector: list[float], top_k: int, ef: int) -> Any:
    """The request of a dense search straight to pymilvus."""
    return client.search(
        alias_of("benchmark"), data=[vector], anns_field="vector", limit=top_k, timeout=60,
        search_params={"metric_type": "COSINE", "params": {"ef": ef}}, output_fields=FIELDS,
        filter=encode(allowed(NOBODY)),
    )[0]  # fmt: skip


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]
