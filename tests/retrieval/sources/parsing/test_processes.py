"""Parsing in processes: what hangs, crashes or takes all memory costs its own document, and the others are read."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrieval.sources.config import ParsingConfig
from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import parse, parse_here
from retrieval.sources.parsing.processes import ParserProcesses
from tests.retrieval.sources.parsing.pdf.pages import Pdf, text

PAGE = b"<html><body><p>Iron rusts.</p></body></html>"


@pytest.fixture
def parsers() -> Iterator[ParserProcesses]:
    parsers = ParserProcesses(ParsingConfig(processes=2, timeout_s=60), lambda _: None)
    yield parsers
    parsers.close()


def children(parsers: ParserProcesses) -> list[int]:
    return [child.process.pid for child in [*parsers._idle, *parsers._busy]]


def slow_pdf(num_pages: int = 60) -> bytes:
    pdf = Pdf()
    for _ in range(num_pages):
        pdf.page(*[text("The boiler is checked in May. " * 3, 72, 760 - 12 * line, 8) for line in range(60)])
    return pdf.written()


def test_a_process_reads_as_this_one_does(parsers: ParserProcesses) -> None:
    pdf = Pdf()
    pdf.page(text("The boiler is checked in May.", 72, 700), text("Secret", 72, 680, font="F3"))
    for content, suffix in ((PAGE, ".html"), (pdf.written(), ".PDF"), (b"a;b\r\n1;2\r\n", ".csv")):
        here, there = parse_here(content, suffix, None, None), parsers.parse(content, suffix)
        assert there == here
        assert getattr(there, "left_out", ()) == getattr(here, "left_out", ())
    assert isinstance(parsers.parse(pdf.written(), ".pdf"), PartialText)
    assert len(children(parsers)) == 1  # one after the other


def test_text_and_code_need_no_process(parsers: ParserProcesses) -> None:
    with parsers.used():
        assert parse(b"# Iron\r\n", ".md") == "# Iron\n"
    assert not children(parsers)


def test_what_cannot_be_read_keeps_its_process(parsers: ParserProcesses) -> None:
    for _ in range(2):
        with pytest.raises(Unreadable, match="is no PDF"):
            parsers.parse(b"no PDF", ".pdf")
    assert len(children(parsers)) == 1


def test_a_document_that_takes_too_long_is_given_up() -> None:
    parsers = ParserProcesses(ParsingConfig(timeout_s=0.2), lambda _: None)
    with pytest.raises(Unreadable, match=r"takes longer than retrieval\.parsing\.timeout_s \(0\.2 s\).*raise it"):
        parsers.parse(slow_pdf(), ".pdf")
    assert not children(parsers)


def test_memory_has_a_limit() -> None:
    parsers = ParserProcesses(ParsingConfig(memory_gib=0.25), lambda _: None)
    with pytest.raises(
        Unreadable, match=r"needs more memory than retrieval\.parsing\.memory_gib \(0\.25 GiB\): raise it"
    ):
        parsers.parse(b"[" + b"0," * 30_000_000 + b"0]", ".json")
    assert parsers.parse(PAGE, ".html") == "Iron rusts."
    parsers.close()


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "ended by SIGSEGV")])
def test_a_parser_that_ends_costs_one_document(parsers: ParserProcesses, number: int, reason: str) -> None:
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(parsers.parse, slow_pdf(), ".pdf")
        while not parsers._busy:
            time.sleep(0.01)
        (pid,) = children(parsers)
        other = threads.submit(parsers.parse, PAGE, ".html")
        assert other.result() == "Iron rusts."
        os.kill(pid, number)
        with pytest.raises(Unreadable, match=f"its parser (was )?{reason}"):
            lost.result()
    assert parsers.parse(PAGE, ".html") == "Iron rusts."
    assert pid not in children(parsers)


def test_closing_ends_what_is_being_parsed(parsers: ParserProcesses) -> None:
    ended = threading.Event()

    def parse_slowly() -> None:
        with pytest.raises(Unreadable):
            parsers.parse(slow_pdf(300), ".pdf")
        ended.set()

    thread = threading.Thread(target=parse_slowly)
    thread.start()
    while not parsers._busy:
        time.sleep(0.01)
    (pid,) = children(parsers)
    parsers.close()
    assert ended.wait(30)
    thread.join()
    assert not Path(f"/proc/{pid}").exists()


def test_the_end_of_the_index_ends_a_parser_that_holds_the_interpreter(parsers: ParserProcesses) -> None:
    assert parsers.parse(b"[1]", ".json")  # it has begun
    with ThreadPoolExecutor(1) as threads:
        lost = threads.submit(parsers.parse, b"[" + b"0," * 10_000_000 + b"0]", ".json")
        while not parsers._busy:
            time.sleep(0.01)
        (child,) = parsers._busy
        child._lifeline.close()  # as the kernel does it for a process that is killed
        with pytest.raises(Unreadable, match=r"its parser ended by SIG(IO|POLL)"):
            lost.result()
