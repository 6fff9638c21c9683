"""How far a long reading or encoding of rows is, said from time to time."""

import time
from collections.abc import Callable

Report = Callable[[str], None]
SILENT_S = 2.0
"""Nothing is said of what takes less."""

_INTERVAL_S = 0.5


class RowProgress:
    """Counts rows, and reports them as in `encoding: 120,000 of 1,000,000 rows, 2,100 rows/s, 6:59 left`."""

    def __init__(self, report: Report | None, what: str, total: int | None = None) -> None:
        self._report, self._what, self._total = report, what, total
        self._started = self._said = time.monotonic()
        self._num_rows = 0

    def advance(self, num_rows: int = 1) -> None:
        """Count rows; nothing is said in the first two seconds."""
        self._num_rows += num_rows
        if self._report is None:
            return
        now = time.monotonic()
        if now - self._started < SILENT_S or now - self._said < _INTERVAL_S:
            return
        self._said = now
        self._report(self._text(self._num_rows / (now - self._started)))

    def _text(self, rows_per_s: float) -> str:
        total = f" of {self._total:,}" if self._total is not None else ""
        text = f"{self._what}: {self._num_rows:,}{total} rows, {rows_per_s:,.0f} rows/s"
        if self._total is None:
            return text
        return f"{text}, {format_duration((self._total - self._num_rows) / rows_per_s)} left"


def format_duration(seconds: float) -> str:
    """As 42 s, 3:07 or 2:05:00."""
    rounded = max(0, round(seconds))
    hours, minutes = rounded // 3600, rounded // 60 % 60
    if hours:
        return f"{hours}:{minutes:02}:{rounded % 60:02}"
    return f"{minutes}:{rounded % 60:02}" if minutes else f"{rounded} s"
