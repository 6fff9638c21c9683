"""The one name of a document, however a question, a collection or a training row spells it.

document_name("./docs/../docs/a%20b.md") == document_name("docs\\\\a b.md") == "docs/a b.md"
"""

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import unquote, urlsplit

# Two letters or more before the colon: `C:/docs` is a path.
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# A place in a document, as in `guide.md#install`; `notes#2.md` and `c#.md` are names of files.
_PLACE = re.compile(r"(?<=\w)(\.[a-z]\w{0,4})#[^./#]*$", re.IGNORECASE)
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=65_536)
def document_name(source: str) -> str:
    """The name under which a document is counted; empty where the source names none.

    The same document are: `\\` and `/`, `./a.md` and `a.md`, `A/../a.md` and `a.md`, `/a.md` and `a.md`, composed and
    decomposed letters, `a%20b.md` and `a b.md`, a document and a place in it (`a.md#install`), `file:///a.md` and
    `/a.md`; of a web address http and https, capitals in the host, the default port and a `/` at the end. Capitals in
    a path and what is behind a `?` tell documents apart.
    """
    text = unicodedata.normalize("NFC", source.strip())
    if _URL.match(text):
        return _name_of_url(text)
    path = unicodedata.normalize("NFC", unquote(text, errors="surrogateescape")).replace("\\", "/")
    path = _DRIVE.sub(lambda drive: drive[0].lower(), _PLACE.sub(r"\1", path))
    return _plain_path(path)


def join_questions(sources: Sequence[Sequence[str]], pairs: Iterable[tuple[int, int]] = ()) -> list[int]:
    """For each question the number of its group, which is that of one of its questions (union-find).

    Joined, over any number of steps, are questions that name the same document, and `pairs` of numbers.

    Args:
        sources: of each question.
    """
    parents = list(range(len(sources)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    first_of: dict[str, int] = {}
    for number, names in enumerate(sources):
        for name in filter(None, map(document_name, names)):
            parents[root(number)] = root(first_of.setdefault(name, number))
    for first, second in pairs:
        parents[root(second)] = root(first)
    return [root(number) for number in range(len(sources))]


def same_document(name: str, source: str) -> bool:
    """Paths are compared from their ends: the collection may know the document by a longer path."""
    name, source = document_name(name), document_name(source)
    return bool(source) and (name == source or name.endswith("/" + source))


def _name_of_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # an address that is none is a name like any other
        return text
    path = _plain_path(unicodedata.normalize("NFC", unquote(parts.path, errors="surrogateescape")).replace("\\", "/"))
    if parts.scheme == "file":
        return path
    scheme = "https" if parts.scheme in _DEFAULT_PORTS else parts.scheme
    address = host if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{port}"
    return f"{scheme}://{address}{f'/{path}' if path else ''}{f'?{parts.query}' if parts.query else ''}"


def _plain_path(path: str) -> str:
    plain = posixpath.normpath(path).lstrip("/") if path else ""
    return "" if plain == "." else plain
