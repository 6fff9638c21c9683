"""What a run of the index leaves out since it was forgotten: by place when a document is listed, by text once it is
read, and by both among what the collection holds."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from cluster.errors import TandemError
from retrieval.index.cut_revision import printable
from retrieval.index.forgetting.forgotten import Forgotten, ForgottenDocument, ForgottenSource, Sighting
from retrieval.index.forgetting.text_identity import identity_of, is_telling
from retrieval.index.indexed_documents import IndexedDocuments
from retrieval.index.report import IndexReport
from retrieval.sources.document import Document, Origin, Unreadable

MIN_LEARNED_WORDS = 20
"""A new text of a forgotten document is known too, wherever it turns up, from so many words on: what is put in place of
a document ("This page was removed.") says the same of others."""
MANY = 5
"""A text that so many other documents have says nothing of one of them: a notice, a form that is not filled in."""


class ForgottenCheck:
    """One for a collection that is kept up to date; `begin` opens each run."""

    def __init__(self, source: ForgottenSource, known: IndexedDocuments) -> None:
        self.source, self.known, self.now = source, known, Forgotten()
        self._begun_with: Forgotten | None = None
        self._searched_for = Forgotten()
        self.has_changed = True
        """Whether this run began with another list than the one before, so that no file counts as looked at."""
        self._sightings: list[Sighting] = []

    def begin(self, report: IndexReport) -> None:
        """A run begins, which writes this report.

        Raises:
            TandemError: the list is damaged.
        """
        self.report, self._sightings, self.now = report, [], self.source.read()
        self.has_changed, self._begun_with = self.now != self._begun_with, self.now

    def found_in_collection(self) -> Iterator[tuple[str, str]]:
        """Documents that the collection holds and that were put on the list since it was searched last, each with the
        name that was forgotten.

        Raises:
            TandemError: the list is damaged.
        """
        self.now = self.source.read()
        if self.now != self._searched_for:
            for source, text, origin in self.known.identities():
                place = read_origin(origin)
                if found := self.now.find(source, place) or self.now.find_text(text, place):
                    yield source, found.names[0]
        self._searched_for = self.now

    def leaves_out(self, document: Document, reads: bool) -> bool:
        """Whether a document is left out by its place, which the report then names.

        Args:
            reads: whether to read it as well, so that its text is known wherever it turns up.
        """
        if (forgotten := self.now.find(document.source, document.origin)) is None:
            return False
        self._note(forgotten, document, self._new_text(forgotten, document) if reads else "")
        return True

    def leaves_out_text(self, document: Document, text: str) -> bool:
        """The same by what it says, as `identity_of` gives it."""
        if (forgotten := self.now.find_text(text, document.origin)) is None:
            return False
        self._note(forgotten, document, "")
        return True

    def is_settled(self, source: str) -> bool:
        """Whether a document of the collection need not be read to know that it is not forgotten. What an earlier
        version indexed says nothing of its text."""
        return not self.now.documents or bool(self.known.text(source))

    def end(self) -> None:
        """Keep under which names, at which places and with which texts documents were met, now that the texts of the
        others are known. Where the list cannot be written now, the next run keeps it: they are left out all the same.
        """
        sightings = (each if self._is_telling(each) else replace(each, text="") for each in self._sightings)
        if new := [each for each in sightings if _is_new(each)]:
            with suppress(TandemError, OSError):
                self.source.learn(new)

    def _note(self, forgotten: ForgottenDocument, document: Document, text: str) -> None:
        name = printable(document.source)
        self.report.forgotten.append(name)
        if name != forgotten.names[0]:
            self.report.forgotten_as[name] = forgotten.names[0]
        self._sightings.append(Sighting(forgotten, document.source, document.origin, text))

    def _new_text(self, forgotten: ForgottenDocument, document: Document) -> str:
        try:
            text = document.read()
        except Unreadable:
            return ""
        identity = identity_of(text)
        is_first = forgotten.is_name_alone and is_telling(identity)
        return identity if is_first or len(text.split()) >= MIN_LEARNED_WORDS else ""

    def _is_telling(self, each: Sighting) -> bool:
        """Whether others that say the same are copies: what is at the place may be a licence, a notice or a form."""
        return self.known.num_saying(each.text) < (MANY if each.document.is_name_alone else 1)


def written_origin(origin: Origin | None) -> str:
    """An origin as rows keep it; empty for none."""
    return json.dumps([origin.root, origin.path], ensure_ascii=False) if origin else ""


def read_origin(written: str) -> Origin | None:
    return Origin(*json.loads(written)) if written else None


def _is_new(each: Sighting) -> bool:
    known = each.document
    learns_place = each.origin is not None and (each.origin not in known.origins or each.name not in known.names)
    return learns_place or bool(each.text and each.text not in known.texts)
