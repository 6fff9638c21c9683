"""The list of what was forgotten: each document by where it was kept and by what it said, whatever it is called now.

    forgotten = ForgottenList(storage.forgotten("help-desk"))
    left_out = forgotten.read()
    left_out.find(document.source, document.origin), left_out.find_text(identity_of(text), document.origin)

A collection has a list of its own, and what stands in the list of another collection of the same storage is left out
too, but for what is known by a name alone: `README.md` is another document in each of them.

    {"forgotten": ["people/jane.md"],
     "documents": [{"names": ["people/jane.md"], "origins": [["/srv/docs", "people/jane.md"]], "texts": ["3f0c..."]}]}

Earlier versions wrote `forgotten` alone, and read it still. Such a document is known by its name until a run of the
index meets it, which adds the rest.
"""

import json
import os.path
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord
from retrieval.index.forgetting.text_identity import identity_of, is_telling
from retrieval.sources.document import Origin

MOST_KEPT = 100
"""Names, places and texts that are kept of one document: those that it had first, and the latest ones."""


@dataclass(frozen=True)
class ForgottenDocument:
    """One document, with every name, place and text under which it was met."""

    names: tuple[str, ...]
    """The first is the one that it was forgotten by."""

    origins: tuple[Origin, ...] = ()
    texts: tuple[str, ...] = ()
    """What `identity_of` made of its texts."""

    key: str = ""
    """The object that holds the list it is in."""

    @property
    def is_name_alone(self) -> bool:
        return not self.origins and not self.texts


@dataclass(frozen=True)
class Sighting:
    """A document that was left out: under which name, from where, and with which text, as far as it was read."""

    document: ForgottenDocument
    name: str
    origin: Origin | None
    text: str = ""


@dataclass(frozen=True)
class Forgotten:
    """What is left out at one moment."""

    documents: tuple[ForgottenDocument, ...] = ()
    own: str = ""
    """The list of the collection that is indexed. What is known by a name alone counts in that one only."""

    def read(self) -> "Forgotten":
        """Itself: a list that does not change meanwhile."""
        return self

    def learn(self, sightings: Sequence[Sighting]) -> None:
        """Nothing is kept."""

    def moved(self, places: Mapping[str, str]) -> "Forgotten":
        """The same for copies of documents: `places` has the folder or file that each source was copied to."""
        return replace(self, documents=tuple(_moved(each, places) for each in self.documents))

    def find(self, name: str, origin: Origin | None) -> ForgottenDocument | None:
        """The document that was kept at this place. One that is known by a name alone is found by that."""
        places = _places(origin) if origin else ()
        found = (self._by_place.get(place) for place in places)
        moved = (self._by_tail.get(tail) for tail in (_tails(origin) if origin and self._by_tail else ()))
        named = (self._by_name.get(each) for each in (_names(name, origin) if self._by_name else ()))
        return next((each for group in (found, moved, named) for each in group if each), None)

    def find_text(self, text: str, origin: Origin | None) -> ForgottenDocument | None:
        """The document that said this (`identity_of`). A word or two make a document only where it has no place."""
        return self._by_text.get(text) if is_telling(text) or (text and origin is None) else None

    def says(self, text: str) -> bool:
        """Whether a document that is kept somewhere has the text of one that was forgotten."""
        return bool(self.has_texts and is_telling(identity := identity_of(text)) and identity in self._by_text)

    @property
    def has_texts(self) -> bool:
        return bool(self._by_text)

    @cached_property
    def _by_text(self) -> dict[str, ForgottenDocument]:
        return {text: each for each in self.documents for text in each.texts}

    @cached_property
    def _by_place(self) -> dict[str, ForgottenDocument]:
        return {place: each for each in self.documents for origin in each.origins for place in _places(origin)}

    @cached_property
    def _by_tail(self) -> dict[str, ForgottenDocument]:
        """Files of folders that are not there any more, by what follows the folder above: a project that was moved, or
        that another machine has elsewhere, still has `docs/jane.md`."""
        gone = (
            (each, origin) for each in self._own for origin in each.origins
            if origin.root.startswith("/") and not Path(origin.root).is_dir()
        )  # fmt: skip
        return {f"{posixpath.basename(origin.root)}/{origin.path}": each for each, origin in gone}

    @cached_property
    def _by_name(self) -> dict[str, ForgottenDocument]:
        return {each.names[0]: each for each in self._own if each.is_name_alone}

    @property
    def _own(self) -> Iterator[ForgottenDocument]:
        return (each for each in self.documents if each.key == self.own)


NOTHING = Forgotten()


class ForgottenSource(Protocol):
    """What tells the index which documents are left out."""

    def read(self) -> Forgotten: ...
    def learn(self, sightings: Sequence[Sighting]) -> None: ...


@dataclass(frozen=True)
class ForgottenList:
    """The list of a collection, in a storage that several machines may share."""

    record: SharedRecord

    def read(self) -> Forgotten:
        """What is left out now: this list, and those of the other collections beside it.

        Raises:
            TandemError: a list is damaged. Nothing is indexed before it is corrected: what was forgotten would come
                back.
        """
        folder = posixpath.dirname(self.record.key)
        keys = {self.record.key, *(self.record.place.glob(f"{folder}/*.json") if folder else ())}
        documents = [each for key in sorted(keys) for each in read_list(SharedRecord(self.record.place, key))]
        return Forgotten(tuple(documents), self.record.key)

    def add(self, document: ForgottenDocument) -> None:
        """Put a document on the list, or add to what the list has of it."""
        change_list(self.record, partial(_joined, replace(document, key=self.record.key)))

    def learn(self, sightings: Sequence[Sighting]) -> None:
        """Keep under which names, at which places and with which texts documents were met and left out."""
        for key in sorted({each.document.key for each in sightings}):
            met = [each for each in sightings if each.document.key == key]
            change_list(SharedRecord(self.record.place, key), partial(_taught, met))


Documents = list[ForgottenDocument]


def read_list(record: SharedRecord) -> Documents:
    """The documents of one list. Raises TandemError where it is damaged."""
    try:
        return _parsed(record, record.read())
    except OSError:
        return _parsed(record, b"")


def change_list(record: SharedRecord, change: Callable[[Documents], Documents]) -> None:
    """By compare-and-swap: what others forget meanwhile is forgotten too."""
    record.update(lambda there: _written(there, change(_parsed(record, there))))


def _written(there: bytes | None, documents: Documents) -> bytes:
    """The names alone too, by which earlier versions leave documents out."""
    names = sorted({document.names[0] for document in documents})
    known = [
        {"names": each.names, "origins": [[place.root, place.path] for place in each.origins], "texts": each.texts}
        for each in documents
        if not each.is_name_alone
    ]
    content = {"forgotten": names, **({"documents": known} if known else {})}
    return (json.dumps(content, indent=1) + "\n").encode()


def _parsed(record: SharedRecord, content: bytes | None) -> Documents:
    if content is None:
        return []
    try:
        kept = json.loads(content)
        names, known = kept["forgotten"], kept.get("documents", [])
        if isinstance(known, list) and isinstance(names, list) and all(isinstance(name, str) for name in names):
            documents = [_document(each, record.key) for each in known]
            whole = {document.names[0] for document in documents}
            return documents + [ForgottenDocument((name,), key=record.key) for name in names if name not in whole]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise TandemError(
        f"{record} cannot be read.",
        'The names of forgotten documents: {"forgotten": ["people/jane.md"]}.',
        "Correct the file, or remove it if nothing is to be forgotten.",
    )


def _document(value: dict[str, Any], key: str) -> ForgottenDocument:
    names, texts, origins = tuple(value["names"]), tuple(value["texts"]), [tuple(each) for each in value["origins"]]
    parts = [*names, *texts, *(part for each in origins for part in each)]
    if not names or any(len(each) != 2 for each in origins) or not all(isinstance(part, str) for part in parts):
        raise ValueError
    return ForgottenDocument(names, tuple(Origin(*each) for each in origins), texts, key)


def _joined(new: ForgottenDocument, documents: Documents) -> Documents:
    """A document that only has the name of another one on the list stands beside it."""
    same = [each for each in documents if _shares(each, new) and new.names[0] in each.names]
    if not same:
        return [*documents, new]
    origin, text = next(iter(new.origins), None), next(iter(new.texts), "")
    return [
        _extended(each, [Sighting(each, new.names[0], origin, text)]) if each in same else each for each in documents
    ]


def _taught(sightings: Sequence[Sighting], documents: Documents) -> Documents:
    return [_extended(document, sightings) for document in documents]


def _extended(document: ForgottenDocument, sightings: Iterable[Sighting]) -> ForgottenDocument:
    for each in sightings:
        if each.document.names[0] == document.names[0] and _shares(each.document, document):
            # A name that is only a number says nothing tomorrow.
            names = (*document.names, each.name) if each.origin else document.names
            origins = (*document.origins, each.origin) if each.origin else document.origins
            texts = (*document.texts, each.text) if each.text else document.texts
            document = replace(document, names=_kept(names), origins=_kept(origins), texts=_kept(texts))
    return document


def _shares(one: ForgottenDocument, other: ForgottenDocument) -> bool:
    """Whether two readings are of the same document of the list: it may have learned something in between."""
    both = one.is_name_alone and other.is_name_alone
    return both or bool({*one.texts} & {*other.texts} or {*one.origins} & {*other.origins})


def _kept(values: "tuple[Any, ...]") -> "tuple[Any, ...]":
    once = tuple(dict.fromkeys(values))
    return once if len(once) <= MOST_KEPT else (once[0], *once[1 - MOST_KEPT :])


def _moved(document: ForgottenDocument, places: Mapping[str, str]) -> ForgottenDocument:
    found = [
        Origin(*posixpath.split(copy + origin.whole.removeprefix(source)))
        for origin in document.origins
        for source, copy in places.items()
        if origin.whole.startswith(source) and origin.whole[len(source) :][:1] in ("", "/", "#")
    ]
    return replace(document, origins=(*document.origins, *found))


def _places(origin: Origin) -> tuple[str, ...]:
    """As it is written and, of a file, behind the links that lead to its folder."""
    if not origin.root.startswith("/"):
        return (origin.whole,)
    return origin.whole, f"{os.path.realpath(origin.root).rstrip('/')}/{origin.path}"


def _tails(origin: Origin) -> Iterator[str]:
    """The path with ever fewer of the folders above the source."""
    if origin.root.startswith("/"):
        folders = origin.root.strip("/").split("/")
        yield from ("/".join([*folders[start:], origin.path]) for start in range(len(folders) + 1))


def _names(name: str, origin: Origin | None) -> Iterator[str]:
    """What a document may have been called while its source was alone, or one of several."""
    yield name
    if origin and not origin.path.startswith(("/", "#")):
        yield origin.path
        yield f"{posixpath.basename(origin.root.rstrip('/'))}/{origin.path}"
