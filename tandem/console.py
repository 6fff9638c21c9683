"""What a person sees: one line per stage on standard error, results on standard output."""

import functools
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError

if TYPE_CHECKING:
    from rich.table import Table


LOG_INTERVAL_S = 30.0
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Console:
    """Progress to standard error, so that `--json` leaves standard output to the result alone."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._started = time.monotonic()
        self._live = sys.stderr.isatty()
        self._open = False
        self._logged = self._started
        self.stages: dict[str, float] = {}

    def stage(self, name: str, text: str) -> None:
        """The line that a stage ends with, after the seconds since the command began, which `stages` keeps."""
        self._clear()
        self.stages[name] = round(time.monotonic() - self._started, 1)
        print(f"[{self.stages[name]:6.1f} s] {name:<8} {printable(text)}", file=sys.stderr, flush=True)

    def progress(self, text: str) -> None:
        """What is going on now: replaces itself on a terminal and stays out of logs."""
        if self._live:
            self._clear()
            print(f"             {printable(text[:100])}", end="", file=sys.stderr, flush=True)
            self._open = True

    def slow_progress(self, text: str) -> None:
        """`progress` of what can take long: in a log a line every half minute."""
        if self._live:
            self.progress(text)
        elif time.monotonic() - self._logged > LOG_INTERVAL_S:
            self._logged = time.monotonic()
            print(f"[{self._logged - self._started:6.1f} s] {printable(text)}", file=sys.stderr, flush=True)

    def result(self, text: str, value: Any) -> None:
        """The command's outcome: words for a person, or one JSON value."""
        self._clear()
        print(json.dumps(value, indent=2, default=str) if self.as_json else printable(text))

    def table(self, table: "Table") -> None:
        """A table for a person; nothing where the result is JSON."""
        from rich.console import Console as RichConsole

        self._clear()
        if not self.as_json:
            output = RichConsole()
            RichConsole(width=max(output.width, 120)).print(table)

    def hint(self, text: str) -> None:
        """What to do next."""
        self._clear()
        print(f"\nNext: {printable(text)}", file=sys.stderr)

    def _clear(self) -> None:
        if self._open:
            print("\r\033[K", end="", file=sys.stderr)
            self._open = False


@functools.cache
def print_note(text: str) -> None:
    """A line on standard error, printed once however often it is given."""
    print(f"Note: {printable(text)}", file=sys.stderr, flush=True)


def print_error(error: TandemError) -> None:
    """One paragraph on standard error."""
    from rich.console import Console as RichConsole
    from rich.text import Text

    RichConsole(stderr=True, highlight=False).print(Text("Error: ", style="bold red") + Text(printable(str(error))))


def printable(text: str) -> str:
    """A text that a terminal shows and does not obey: documents, their names and answers may hold escape sequences.

    Controls but for line ends and tabs, and halves of surrogate pairs, are written as Python escapes them.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
