"""Documents read ahead: several at once, while those before them are cut and embedded.

with closing(read_ahead(wanted, parsers)) as ready:
    for document, about, read in ready:
        text = read()                        # or what reading it raised
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

from retrieval.sources.document import Document
from retrieval.sources.parsing.processes import ParserProcesses, document_name

AHEAD = 3
"""Documents that are read or wait with their text, for each process."""
CLOSE_S = 0.1
About = TypeVar("About")
Ready = tuple[Document, About, Callable[[], str]]


def read_ahead(wanted: Iterable[tuple[Document, About]], parsers: ParserProcesses) -> Generator[Ready[About]]:
    """Each document with a function that gives its text, as soon as it is read: a slow one does not hold up others.

    Files are read in threads, and parsed in processes; what comes from a database or a site is read by who asks for
    it, at once, since its connection is open for that long.
    """
    pending: dict[Future[str], tuple[Document, About]] = {}
    threads = ThreadPoolExecutor(parsers.num_processes)
    try:
        for document, about in wanted:
            if not document.is_file:
                yield document, about, partial(_read, document, parsers)
                continue
            pending[threads.submit(_read, document, parsers)] = document, about
            yield from _ready(pending, AHEAD * parsers.num_processes)
        yield from _ready(pending, 0)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        # One that had just begun starts another process. What was cancelled never ends for `wait`.
        while running := [future for future in pending if not future.done()]:
            parsers.close()
            wait(running, CLOSE_S)
        parsers.close()
        threads.shutdown()


def _ready(pending: dict[Future[str], tuple[Document, About]], most: int) -> Iterator[Ready[About]]:
    """Those that are read, until at most so many are left."""
    while pending:
        done = [future for future in pending if future.done()]
        if not done:
            if len(pending) <= most:
                return
            wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield (*pending.pop(future), future.result)


def _read(document: Document, parsers: ParserProcesses) -> str:
    document_name.set(document.source)
    with parsers.used():
        return document.read()
