"""Whether a source that is suddenly empty is believed to be: its mount may be missing, or it is being written anew.

It is where it is found empty twice in succession, or where the user says so. That it was found empty is kept with the
collection, for the next run on any machine. A watch counts only its own looks, which are some time apart.
"""

import json
import time
from collections.abc import Collection

from retrieval.store.store import Store

PROPERTY = "tandem.empty_sources"


class EmptySources:
    """The sources of a collection that were found empty.

    Args:
        place: the collection with which this is kept.
        titles: the names of the sources.
        are_allowed: whether the user says that sources may be empty.
        between_s: seconds between the two times, where one process looks again and again; None: it looks once.
    """

    def __init__(
        self, store: Store, place: str, titles: Collection[str], are_allowed: bool, between_s: float | None
    ) -> None:
        self.store, self.place, self._are_allowed, self._between_s = store, place, are_allowed, between_s
        written = (store.properties(place) or {}).get(PROPERTY)
        self._kept = [str(title) for title in json.loads(written)] if written else []
        self._before = {title for title in self._kept if title in titles}
        self._now: dict[str, float] = {}

    def was_found(self, title: str) -> bool:
        """Whether the source was found empty by the run before."""
        return title in self._before

    def found_empty(self, title: str) -> bool:
        """The source has no document: whether that is believed, so that what the collection holds of it goes."""
        first = self._now.setdefault(title, time.monotonic())
        if self._are_allowed or self._between_s is None:
            return self._are_allowed or title in self._before
        return time.monotonic() - first >= self._between_s

    def found_documents(self, title: str) -> None:
        """The source has documents."""
        self._now.pop(title, None)
        self._before.discard(title)

    def keep(self, place: str | None = None) -> None:
        """Write down what was found: with the collection that is searched now, where it is another one."""
        found, place = sorted(self._before | self._now.keys()), place or self.place
        if found != self._kept or (found and place != self.place):
            self.store.set_properties(place, {PROPERTY: json.dumps(found)})
        self.place, self._kept = place, found
