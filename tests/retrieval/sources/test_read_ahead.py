"""Documents are read ahead, a slow one does not hold up the others, and none is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.filters.rights import Attributes
from retrieval.sources.config import ParsingConfig
from retrieval.sources.document import Document, Unreadable
from retrieval.sources.parsing.parse import parse
from retrieval.sources.parsing.processes import ParserProcesses
from retrieval.sources.read_ahead import AHEAD, read_ahead

SLOW_S = 60.0


@pytest.fixture
def parsers() -> ParserProcesses:
    return ParserProcesses(ParsingConfig(processes=2), lambda _: None)


def file(name: str, read: Callable[[], str]) -> tuple[Document, str]:
    return Document(name, Attributes(), lambda: name, read, Path(name)), f"about {name}"


def row(name: str, read: Callable[[], str]) -> tuple[Document, str]:
    return Document(name, Attributes(), lambda: name, read), f"about {name}"


def test_a_slow_document_does_not_hold_up_the_others(parsers: ParserProcesses) -> None:
    others_done = threading.Event()
    wanted = [file("slow", lambda: str(others_done.wait(SLOW_S))), *(file(f"{n}", lambda: "text") for n in range(20))]
    names = []
    with closing(read_ahead(wanted, parsers)) as ready:
        for document, about, read in ready:
            names.append(document.source)
            assert about == f"about {document.source}"
            assert read() == ("True" if document.source == "slow" else "text")
            if len(names) == 20:
                others_done.set()
    assert names[-1] == "slow"
    assert sorted(names[:-1]) == sorted(map(str, range(20)))


def test_few_are_read_ahead(parsers: ParserProcesses) -> None:
    listed: list[str] = []

    def wanted() -> Iterator[tuple[Document, str]]:
        for number in range(100):
            listed.append(str(number))
            yield file(str(number), lambda: "text")

    with closing(read_ahead(wanted(), parsers)) as ready:
        next(ready)
        assert len(listed) <= AHEAD * 2 + 2


def test_what_comes_from_a_connection_is_read_by_who_asks(parsers: ParserProcesses) -> None:
    """While its source is being listed, and in the thread that opened it."""
    is_open = [True]

    def wanted() -> Iterator[tuple[Document, str]]:
        yield file("a.md", lambda: "text")
        yield row("1", lambda: f"{is_open} {threading.current_thread() is threading.main_thread()}")
        is_open[0] = False

    with closing(read_ahead(wanted(), parsers)) as ready:
        assert {document.source: read() for document, _, read in ready} == {"a.md": "text", "1": "[True] True"}


def test_what_reading_raises_is_raised_to_who_asks(parsers: ParserProcesses) -> None:
    def fail() -> str:
        raise Unreadable("is no PDF")

    with closing(read_ahead([file("a.pdf", fail), row("1", fail), file("b.md", lambda: "text")], parsers)) as ready:
        for document, _, read in ready:
            if document.source == "b.md":
                assert read() == "text"
                continue
            with pytest.raises(Unreadable, match="is no PDF"):
                read()


def test_leaving_ends_what_is_being_read(parsers: ParserProcesses) -> None:
    with closing(read_ahead([file(f"{n}.md", lambda: "text") for n in range(30)], parsers)) as ready:
        next(ready)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_leaving_starts_nothing_that_waited(parsers: ParserProcesses) -> None:
    content, ended = b"[" + b"0," * 3_000_000 + b"0]", list[str]()

    def read() -> str:
        ended.append(parse(content, ".json"))
        return ended[-1]

    def wanted() -> Iterator[tuple[Document, str]]:
        for number in range(6):
            yield file(f"{number}.json", read)
        while len(parsers._busy) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(read_ahead(wanted(), parsers))
    assert not ended and not parsers._busy and not parsers._idle
