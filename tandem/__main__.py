"""The `tandem` command, and `python -m tandem`."""

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn

END_S = 5.0


def run() -> None:
    """Run the command, and end with 130 or 143 on Ctrl-C or SIGTERM before it has begun and after it has ended, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    # Imported here, since a signal during the import is to be no stack trace.
    from tandem.cli import main

    try:
        main()
    except SystemExit as ended:
        if ended.code in (130, 143):
            _end_now(ended.code)
        raise


def _end_now(code: int) -> NoReturn:
    """End without what Python does last: it waits for threads, which may wait for something that does not come any
    more, and it ends by SIGINT where a KeyboardInterrupt passed through an `exec` of some library."""
    timer = threading.Timer(END_S, os._exit, (code,))
    timer.daemon = True
    timer.start()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
