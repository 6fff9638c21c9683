"""An index run in a process of its own, to be killed: with small batches, so that a run is made of many writes."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from retrieval.config import RetrievalConfig

# Children are forked from a process that has imported everything and run nothing: each starts at once.
_SPAWN = multiprocessing.get_context("forkserver")
_SPAWN.set_forkserver_preload(
    ["retrieval.index.indexing", "sentence_transformers", "pymilvus", "tests.retrieval.crashing"]
)
COLLECTION = "crashes"


class Run:
    """A run that is going on; `began` returns when it starts to read the documents."""

    def __init__(self, folder: Path, uri: str, collection: str = COLLECTION) -> None:
        self._events, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_index, args=(folder, uri, collection, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def began(self) -> None:
        assert self._events.recv() == "began"

    def ended(self) -> str:
        """`done`, or the error that it ended with."""
        said = str(self._events.recv())
        self.process.join()
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _index(folder: Path, uri: str, collection: str, events: Connection) -> None:
    from cluster.errors import TandemError
    from retrieval.index import indexing

    indexing.BATCH_CHUNKS = 4
    run: Callable[..., Any] = indexing._Sync.run

    def announced(*arguments: Any) -> Any:
        events.send("began")
        return run(*arguments)

    indexing._Sync.run = announced  # type: ignore[method-assign]
    try:
        config = RetrievalConfig.model_validate({"sources": [folder], "milvus": {"retry_s": 1}})
        indexing.index_documents(config, collection, uri, lambda _: None)
    except TandemError as error:
        events.send(str(error))
    else:
        events.send("done")
