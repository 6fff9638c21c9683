"""Messages (EML, MSG) -> Markdown: subject, people, date, text, and attachments by the readers of their kinds.

Of a text that is there in several formats, the one with the most words is read, and a richer one that says mostly other
words. Words that only another one has are counted. Attachments that cannot be read are counted by their reason.
"""

import codecs
import email.policy
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage, MIMEPart
from pathlib import PurePosixPath
from typing import Any

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.html import decode_html, html_markdown
from retrieval.sources.parsing.office.archive import explain_container
from retrieval.sources.parsing.parsed import Parsed
from retrieval.sources.parsing.text import find_codec

Parse = Callable[[bytes, str], Parsed]
"""The content of a file and its suffix -> its text. Raises Unreadable."""

_WRONG = "characters that are not in the charset of the message"
_HEADERS = ("From", "To", "Cc", "Date")


@dataclass
class _Message:
    """A message in either format."""

    subject: str
    people: list[tuple[str, str]]
    texts: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def parsed(self) -> Parsed:
        lines = [f"{name}: {value}" for name, value in self.people if value]
        blocks = [f"# {self.subject}" if self.subject else "", "\n".join(lines), *self.texts]
        return Parsed("\n\n".join(block.strip() for block in blocks if block.strip()), self.left_out)

    def add(self, parsed: Parsed, at: int | None = None) -> None:
        self.texts.insert(len(self.texts) if at is None else at, parsed.text)
        self.left_out += parsed.left_out

    def attach(self, name: str, content: bytes, suffix: str, parse: Parse) -> None:
        """The text of an attachment, or why it is left out."""
        try:
            parsed = parse(content, suffix)
        except Unreadable as error:
            self.texts.append(f"Attachment: {name}")
            self.left_out[f"attachments ({suffix or 'no suffix'}: {error})"] += 1
            return
        self.texts.append(f"## Attachment: {name}\n\n{parsed.text}")
        self.left_out += parsed.left_out


def read_eml(content: bytes, parse: Parse) -> Parsed:
    """An Internet message (RFC 5322, MIME).

    Args:
        parse: reads attachments.

    Raises:
        Unreadable: it has no header.
    """
    # Neither a byte order mark nor empty lines are part of a header.
    message = email.message_from_bytes(content.lstrip(b"\xef\xbb\xbf\r\n"), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    if not message.keys():
        raise Unreadable("is no message: it has no header")
    people = [(name, _header(message, name)) for name in _HEADERS]
    read = _Message(_header(message, "Subject"), people)
    # By the place of their text, what each of several ways to say the same says.
    alternatives: dict[int, tuple[int, dict[int, Parsed]]] = {}
    for part, group, number in _leaves(message):
        kind, name = part.get_content_type(), part.get_filename()
        suffix = PurePosixPath(name or "").suffix.lower() or _SUFFIXES.get(kind, "")
        if kind == "message/rfc822":
            inner: Any = part.get_payload(0) if part.is_multipart() else part
            read.attach(name or "message", inner.as_bytes(), ".eml", parse)
        elif kind == "message/delivery-status":
            fields: Any = part.get_payload()
            each = [[f"{key}: {value}" for key, value in block.items()] for block in fields]
            read.add(Parsed("\n\n".join(map("\n".join, each))))
        elif (
            part.get_content_maintype() == "text"
            and suffix in ("", ".txt", ".html")
            and not (name or part.get_content_disposition() == "attachment")
        ):
            if group is None:
                read.add(_text(part))
            else:
                _, said = alternatives.setdefault(group, (len(read.texts), {}))
                text, known = _text(part), said.get(number, Parsed(""))
                said[number] = Parsed(f"{known.text}\n\n{text.text}", known.left_out + text.left_out)
        else:
            is_text = part.get_content_maintype() == "text" and not suffix
            read.attach(name or kind, _content(part), ".txt" if is_text else suffix, parse)
    for at, said in reversed(alternatives.values()):
        read.add(_best(list(said.values())), at)
    return read.parsed()


_SUFFIXES = {
    "text/plain": ".txt", "text/html": ".html", "text/csv": ".csv", "text/rtf": ".rtf", "application/pdf": ".pdf",
}  # fmt: skip


def _best(said: list[Parsed]) -> Parsed:
    """Of several ways to say the same, the one with the most words, and richer ones that say something else.

    The richest one comes last (RFC 2046, 5.1.4). The plain text may only say that there is a page.
    """
    best = max(said, key=lambda each: len(_words(each)))
    known, at = _words(best), said.index(best)
    for number, each in enumerate(said):
        own = _words(each)
        if number > at and 2 * len(own - known) > len(own):
            best = Parsed(f"{best.text}\n\n{each.text}", best.left_out + each.left_out)
        else:
            best.left_out["words that only another format of the text has"] += len(own - known)
        known |= own
    return best


def _words(parsed: Parsed) -> set[str]:
    return set(re.findall(r"\w+", parsed.text))


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, TypeError, AttributeError):  # the standard library's own, on odd addresses
        return " ".join(str(dict(message.raw_items()).get(name, "")).split())


def _leaves(part: MIMEPart, group: int | None = None, number: int = 0) -> Iterator[tuple[MIMEPart, int | None, int]]:
    """Every part that holds no others, with the outermost group of ways to say the same that it is in, and which."""
    kind = part.get_content_type()
    if kind.startswith("message/") or not part.is_multipart():
        yield part, group, number
        return
    for at, each in enumerate(part.iter_parts()):
        if group is None and kind == "multipart/alternative":
            yield from _leaves(each, id(part), at)
        else:
            yield from _leaves(each, group, number)


def _content(part: MIMEPart) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(part: MIMEPart) -> Parsed:
    content, charset = _content(part), part.get_content_charset()
    if part.get_content_type() == "text/html":
        return html_markdown(decode_html(content, None, charset)[0])
    try:
        return Parsed(content.decode((find_codec(charset) if charset else None) or "utf-8"))
    except UnicodeDecodeError:
        text = content.decode(errors="replace")
        return Parsed(text, Counter({_WRONG: text.count("\ufffd")}))


def read_msg(content: bytes, parse: Parse) -> Parsed:
    """A message of Outlook (MS-OXMSG).

    Args:
        parse: reads attachments.

    Raises:
        Unreadable: it is none.
    """
    import olefile

    if explain_container(content) is None:
        raise Unreadable("cannot be opened as msg: it is no OLE container")
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as container:
            return _Outlook(container).message((), parse).parsed()
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise Unreadable(f"cannot be opened as msg: {error}"[:200]) from error


class _Outlook:
    """The properties of a message, each a stream named by its tag and type: 001F is UTF-16, 001E 8 bits, 0102 bytes."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def message(self, at: tuple[str, ...], parse: Parse) -> _Message:
        people = [("From", f"{self.text(at, '0C1A')} {self.text(at, '5D01') or self.text(at, '0C1F')}".strip())]
        people += [("To", self.text(at, "0E04")), ("Cc", self.text(at, "0E03"))]
        read = _Message(self.text(at, "0037"), people)
        read.texts.append(self.text(at, "1000", read.left_out) or self._page(at, read.left_out))
        for place in self._places(at, "__attach_version1.0_"):
            self._attach(read, place, parse)
        return read

    def _attach(self, read: _Message, at: tuple[str, ...], parse: Parse) -> None:
        name = self.text(at, "3707") or self.text(at, "3704") or self.text(at, "3001") or "without a name"
        content = self._stream((*at, "__substg1.0_37010102"))
        inner = (*at, "__substg1.0_3701000D")
        if content is None and self._stream((*inner, "__properties_version1.0")) is not None:
            message = self.message(inner, parse)
            read.texts.append(f"## Attachment: {name}\n\n{message.parsed().text}")
            read.left_out += message.left_out
        elif content is None:
            read.left_out["attachments that lie elsewhere"] += 1
        else:
            read.attach(name, content, PurePosixPath(name).suffix.lower(), parse)

    def _page(self, at: tuple[str, ...], left_out: Counter[str]) -> str:
        content = self._stream((*at, "__substg1.0_10130102"))
        if content is None:
            left_out["texts in compressed RTF"] += self._stream((*at, "__substg1.0_10090102")) is not None
            return ""
        page = html_markdown(decode_html(content.rstrip(b"\0"), None, None)[0])
        left_out.update(page.left_out)
        return page.text

    def text(self, at: tuple[str, ...], tag: str, left_out: Counter[str] | None = None) -> str:
        content = self._stream((*at, f"__substg1.0_{tag}001F"))
        codec = "utf-16-le"
        if content is None:
            content, codec = self._stream((*at, f"__substg1.0_{tag}001E")) or b"", self._code_page(at)
        text = content.decode(codec, errors="replace").replace("\r\n", "\n").strip("\0 \n")
        if left_out is not None:
            left_out[_WRONG] += text.count("\ufffd")
        return text

    def _code_page(self, at: tuple[str, ...]) -> str:
        """The encoding of texts in 8 bits: a number among the properties of fixed length."""
        content = self._stream((*at, "__properties_version1.0")) or b""
        # Entries of 16 bytes at the end, behind a head of 8, 24 or 32.
        for start in range(len(content) % 16, len(content) - 15, 16):
            if content[start : start + 4] in (b"\x03\x00\xfd\x3f", b"\x03\x00\xde\x3f"):
                number = int.from_bytes(content[start + 8 : start + 12], "little")
                name = "utf-8" if number == 65001 else f"cp{number}"
                try:
                    return codecs.lookup(name).name
                except LookupError:
                    continue
        return "utf-8"

    def _stream(self, path: tuple[str, ...]) -> bytes | None:
        container = self.container
        return container.openstream(list(path)).read() if container.exists("/".join(path)) else None

    def _places(self, at: tuple[str, ...], prefix: str) -> list[tuple[str, ...]]:
        entries = self.container.listdir(streams=False, storages=True)
        return sorted(
            tuple(entry)
            for entry in entries
            if tuple(entry[:-1]) == at and len(entry) == len(at) + 1 and entry[-1].startswith(prefix)
        )
