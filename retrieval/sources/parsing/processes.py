"""Documents parsed in processes of their own: one that hangs, crashes or takes all memory costs itself, not the index.

    parsers = ParserProcesses(ParsingConfig(), on_progress=print)
    text = parsers.parse(content, ".pdf")        # from any number of threads
    parsers.close()

A process is started where none is idle, and parses one document after the other. What goes over the pipe is bytes and
JSON: a document that takes over its parser gets no object into the process that indexes.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.connection import Connection
from typing import Any

import joblib

from retrieval.sources.config import ParsingConfig
from retrieval.sources.document import Unreadable, say_left_out
from retrieval.sources.parsing.formats import CODE, TEXT_SUFFIXES
from retrieval.sources.parsing.parse import parse_here, parser

READ_HERE = TEXT_SUFFIXES | CODE.keys()
"""Kinds that are only decoded."""
PROGRESS_S = 10.0
document_name: ContextVar[str] = ContextVar("document_name", default="a document")
"""The document that a thread parses, of which progress is reported."""


class ParserProcesses:
    """Parses documents in child processes, as many at once as threads ask for it.

    Args:
        on_progress: gets a line every ten seconds of a document that takes long, from the thread that waits for it.
    """

    def __init__(self, config: ParsingConfig, on_progress: Callable[[str], None]) -> None:
        self.config, self.on_progress = config, on_progress
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()

    @property
    def num_processes(self) -> int:
        return self.config.processes or int(joblib.cpu_count())

    def parse(self, content: bytes, suffix: str, encoding: str | None = None, declared: str | None = None) -> str:
        """As `parsing.parse.parse_here`.

        Raises:
            Unreadable: also where the document takes longer, or more memory, than the limits allow, or its parser ends.
        """
        if suffix.lower() in READ_HERE:
            return parse_here(content, suffix, encoding, declared)
        with self._lock:
            child = self._idle.pop() if self._idle else _Child(self.config)
            self._busy.add(child)
        try:
            return child.parse(content, [suffix, encoding, declared, self.config.ocr], self.on_progress)
        except Unreadable:
            raise
        except BaseException:
            child.end()  # such as Ctrl-C: its answer is not waited for
            raise
        finally:
            with self._lock:
                self._busy.discard(child)
                if child.is_usable:
                    self._idle.append(child)

    @contextmanager
    def used(self) -> Iterator[None]:
        """What is read by this thread meanwhile is parsed by these processes."""
        token = parser.set(self.parse)
        try:
            yield
        finally:
            parser.reset(token)

    def close(self) -> None:
        """End the processes. What is being parsed raises Unreadable; later documents start others."""
        with self._lock:
            children = [*self._idle, *self._busy]
            self._idle.clear()
        for child in children:
            child.end()


class _Child:
    """A process that parses, and our end of its pipe."""

    def __init__(self, config: ParsingConfig) -> None:
        self.config, self.is_usable = config, True
        ours, theirs = socket.socketpair()
        until_closed, lifeline = os.pipe()
        self._lifeline = os.fdopen(lifeline, "wb", buffering=0)
        command = [
            sys.executable,
            "-m",
            "retrieval.sources.parsing.child",
            str(theirs.fileno()),
            str(until_closed),
            str(config.memory_gib),
        ]
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno(), until_closed],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # libraries print
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the process that indexes, which ends it
        )
        theirs.close()
        os.close(until_closed)
        self.connection = Connection(ours.detach())

    def parse(self, content: bytes, arguments: list[Any], on_progress: Callable[[str], None]) -> str:
        started = told = time.monotonic()
        at = ""
        try:
            self.connection.send_bytes(json.dumps(arguments).encode())
            self.connection.send_bytes(content)
            while True:
                now = time.monotonic()
                if now - started >= self.config.timeout_s:
                    raise self._failed(
                        f"takes longer than retrieval.parsing.timeout_s ({self.config.timeout_s:g} s){at}: "
                        "raise it, or leave the document out"
                    )
                if now - told >= PROGRESS_S:
                    told = now
                    on_progress(f"reading {document_name.get()} for {now - started:.0f} s{at}")
                if not self.connection.poll(min(PROGRESS_S, started + self.config.timeout_s - now)):
                    continue
                answer = json.loads(self.connection.recv_bytes())
                if "page" in answer:
                    at = f" (page {answer['page']:,} of {answer['pages']:,})"
                elif "unreadable" in answer:
                    if answer["is_last"]:
                        raise self._failed(answer["unreadable"])
                    raise Unreadable(answer["unreadable"])
                else:
                    return say_left_out(answer["text"], answer["left_out"])
        except (EOFError, OSError) as error:
            raise self._failed(self._reason(at)) from error

    def _failed(self, reason: str) -> Unreadable:
        self.end()
        return Unreadable(reason)

    def _reason(self, at: str) -> str:
        """Why the process ended by itself."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return f"cannot be parsed: its parser does not answer{at}"
        if code == -signal.SIGKILL:
            return f"cannot be parsed: its parser was killed, most likely since the machine has no memory left{at}"
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"cannot be parsed: its parser ended {ended}{at}; retrieval.parsing.memory_gib is its limit of memory"

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.is_usable = False
        self.process.kill()
        self.process.wait()
        self._lifeline.close()
