"""Staying with the documents: when a watch looks at which sources again, and what it says.

A folder is looked at when the system reports a change, when another one has taken its place, and after `rescan_s` in
any case, since not every change is reported: those that other machines make on a network file system, those of files
outside that a link points to, and those in a folder that the system has no watch left for. Looking takes no reading of
files that are as before (retrieval/index/file_states.py).
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from retrieval.config import RetrievalConfig
from retrieval.index.listing import OnUnavailable
from retrieval.index.report import EmptySource, Failure, IndexReport
from retrieval.sources import sources
from retrieval.sources.config import SourceConfig
from retrieval.sources.document import SourceUnavailable
from retrieval.sources.folders.watch import FolderWatch

POLL_S = 1.0
"""Seconds between two looks at folders of which the system reports nothing."""
MOST_SHARE = 0.05
"""Of the time, for looks that find nothing."""
MOST_SHARE_OF_EVENTS = 0.25
"""The same where the system goes on reporting changes of files that are no documents, such as a log."""
LATE_S = 3.0
"""Longest time until the system reports a change that was found before."""
Looked = TypeVar("Looked", IndexReport, IndexReport | None)


class Run(Protocol):
    """Brings the collection up to date with all sources, or with `only` these."""

    def __call__(
        self, only: Sequence[SourceConfig] | None = None, on_unavailable: OnUnavailable | None = None, /
    ) -> IndexReport: ...


def follow_sources(
    config: RetrievalConfig,
    run: Run,
    on_report: Callable[[IndexReport], None],
    on_progress: Callable[[str], None],
    stop: threading.Event,
    is_outdated: Callable[[], bool] = lambda: False,
) -> None:
    """Look at the sources whenever they may have changed, until `stop` is set.

    Args:
        on_report: gets the report of the first look, and of each later one that found anything new.
        on_progress: gets what the user should know beside it, such as a source that is unavailable now.
        is_outdated: whether all sources are to be looked at now, since other documents are left out of them.

    Raises:
        TandemError: as by `run`; of the first look also a source that is unavailable.
    """
    folders, polls = sources.folder_sources(config.sources), sources.PollSchedule(config.sources)
    with FolderWatch([source.path for source in folders], stop, on_progress) as watch:
        watch.wait()  # the watch stands before the first look, so that nothing is missed in between
        news, looks = _News(on_report, on_progress), _Looks(config.rescan_s)
        looks.is_told = True
        news.say(looks.timed(run), is_first=True)
        polls.begin(config.sources)
        while not stop.is_set():
            looks.is_told |= watch.wait()
            looks.has_events = watch.has_events
            if looks.is_surprised():
                on_progress("Changes were found that the system had not reported. The folders are watched anew.")
                watch.close()
            elif folders and looks.is_due():
                news.say(looks.timed(lambda: news.looked_at(run, folders)))
            if is_outdated():
                news.say(news.looked_at(run, config.sources))
            for source in polls.due():
                news.say(news.looked_at(run, [source]))
                polls.begin([source])


class _Looks:
    """When the folders are looked at again."""

    def __init__(self, rescan_s: float) -> None:
        self._rescan_s, self._last, self._cost_s, self._was_futile = rescan_s, time.monotonic(), 0.0, False
        self._surprised: float | None = None
        self.has_events = True
        """Whether the system reports changes."""
        self.is_told = False
        """Whether it has reported one since the last look."""

    def is_due(self) -> bool:
        """Whether the time has come, or a change was reported: at once, unless the last one was of no document."""
        waited_s = time.monotonic() - self._last
        if self.is_told and waited_s >= self._was_futile * self._cost_s / MOST_SHARE_OF_EVENTS:
            return True
        pause_s = self._rescan_s if self.has_events else min(POLL_S, self._rescan_s)
        return waited_s >= max(pause_s, self._cost_s / MOST_SHARE)

    def is_surprised(self) -> bool:
        """Whether a look found a change that the system has not reported since. Says so once."""
        if self._surprised is None or self.is_told or not self.has_events:
            self._surprised = None
            return False
        if time.monotonic() - self._surprised < LATE_S:
            return False
        self._surprised = None
        return True

    def timed(self, look: Callable[[], Looked]) -> Looked:
        """Look, and keep what it cost."""
        began = time.monotonic()
        report = look()
        self._last, was_told, self.is_told = time.monotonic(), self.is_told, False
        self._was_futile = report is None or not report.has_changes
        if self._was_futile:
            self._cost_s = self._last - began
        elif not was_told:
            self._surprised = self._last
        return report


class _News:
    """What is new is said: a document that still cannot be read or is still left out as forgotten, and a source that is
    still away, were named before."""

    def __init__(self, on_report: Callable[[IndexReport], None], on_progress: Callable[[str], None]) -> None:
        self._on_report, self._on_progress = on_report, on_progress
        self._named: set[Failure | EmptySource | str] = set()
        self._away: dict[str, str] = {}

    def looked_at(self, run: Run, looked: Sequence[SourceConfig]) -> IndexReport | None:
        """The report of a look; None where one of the sources went away while it was read."""
        away: dict[str, str] = {}

        def note(source: SourceConfig, error: SourceUnavailable) -> None:
            away[source.title] = str(error)

        try:
            report = run(looked, note)
        except SourceUnavailable as error:
            report, away = None, {looked[0].title: str(error)}
        for title in [source.title for source in looked]:
            before, now = self._away.pop(title, None), away.get(title)
            if now:
                self._away[title] = now
            if now != before:
                self._on_progress(now or f"The source {title} can be read again.")
        return report

    def say(self, report: IndexReport | None, is_first: bool = False) -> None:
        """Hand a report on where it says anything new."""
        if report is None:
            return
        found: set[Failure | EmptySource | str] = {*report.failed, *report.empty, *report.forgotten}
        if is_first or report.has_changes or not self._named >= found:
            self._on_report(report)
        self._named |= found
