"""A process that parses documents for another one: `python -m retrieval.sources.parsing.child SOCKET PIPE GIB`.

SOCKET and PIPE are open in both; PIPE is closed by the end of the other one, which ends this one. GIB is the most
memory that it may take.
"""

import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import parse_here
from retrieval.sources.parsing.parsed import PdfReading

PROGRESS_S = 1.0
OOM_SCORE = "800"
"""Above what other processes have: where the machine's memory ends, the kernel ends this one."""


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    _end_with_other(int(sys.argv[2]))
    num_bytes = int(float(sys.argv[3]) * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            suffix, encoding, declared, with_ocr = json.loads(connection.recv_bytes())
            answer = _answer(connection, connection.recv_bytes(), suffix, encoding, declared, with_ocr)
            connection.send_bytes(json.dumps(answer).encode())


def _answer(
    connection: Connection, content: bytes, suffix: str, encoding: str | None, declared: str | None, with_ocr: bool
) -> dict[str, Any]:
    told = 0.0

    def tell(page: int, pages: int) -> None:
        nonlocal told
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            connection.send_bytes(json.dumps({"page": page, "pages": pages}).encode())

    try:
        text = parse_here(content, suffix, encoding, declared, PdfReading(with_ocr, tell))
    except Unreadable as error:
        if not isinstance(error.__cause__, MemoryError):
            return {"unreadable": str(error), "is_last": False}
        limit = f"retrieval.parsing.memory_gib ({float(sys.argv[3]):g} GiB)"
        # What a library still holds is not known: this process takes no other document.
        return {"unreadable": f"needs more memory than {limit}: raise it, or leave the document out", "is_last": True}
    return {"text": str(text), "left_out": text.left_out if isinstance(text, PartialText) else ()}


def _end_with_other(pipe: int) -> None:
    """End when the process that indexes has ended, also in the middle of a document, and however that one ended.

    On Linux the kernel sees to it by SIGIO: a thread cannot while a parser holds the interpreter. PR_SET_PDEATHSIG
    would end this process with the thread that started it.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_wait_for_end, args=(pipe,), daemon=True).start()


def _wait_for_end(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
