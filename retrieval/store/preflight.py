"""Whether the Milvus of a project answers, and has what its settings ask for."""

import time
from collections.abc import Iterator
from typing import Any

from cluster.errors import TandemError
from cluster.preflight.finding import Finding
from retrieval.config import RetrievalConfig
from retrieval.errors import RetrievalUnavailable

ANSWER_S = 10.0
SLOW_S = 0.5


def check_milvus(config: RetrievalConfig, uri: str) -> Iterator[Finding]:
    """`uri` is the http(s) address of a server, Milvus Lite's too. A line for the connection and one for features."""
    # A doctor without a Milvus server to look at does not wait for pymilvus.
    from retrieval.store.store import BM25_SINCE, Store

    started = time.monotonic()
    try:
        store = Store(uri, config.milvus, ANSWER_S)
    except TandemError as error:
        kind = "does not answer" if isinstance(error, RetrievalUnavailable) else "refuses"
        yield Finding("milvus", "failed", f"{uri} {kind}: {error.seen}", f"{error.accepted} {error.remedy}")
        return
    try:
        collections = store.collections()
        seconds = time.monotonic() - started
        values: dict[str, Any] = {
            "version": store.version, "bm25": store.has_bm25, "collections": collections, "seconds": round(seconds, 3),
        }  # fmt: skip
        text = f"{uri}: version {store.version}, {len(collections)} collections"
        yield Finding("milvus", "ok", text, values=values)
        if config.mode != "dense" and not store.has_bm25:
            since = ".".join(map(str, BM25_SINCE))
            yield Finding(
                "milvus features", "failed",
                f"retrieval.mode is {config.mode}, and version {store.version} has no sparse vectors and no BM25",
                f"Use Milvus {since} or newer, or set `retrieval.mode: dense`.", values=values,
            )  # fmt: skip
        else:
            has = "dense, BM25 and hybrid search" if store.has_bm25 else "dense search only"
            yield Finding("milvus features", "ok", f"{has}; retrieval.mode is {config.mode}", values=values)
    finally:
        store.close()
