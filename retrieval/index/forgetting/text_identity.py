"""What a text is known by, however it is written: the same for Markdown, plain text and what other formats become.

    identity_of("# Jane\r\n\r\nShe earns **90,000**.") == identity_of("Jane\nShe earns 90,000.")

Line ends, spaces, Unicode forms, typographic quotes and the marks of Markdown are left out. Letters, digits, capitals,
signs and the order of the words decide, so a text in which one of these differs is another text.
"""

import hashlib
import html
import re
import unicodedata

MIN_WORDS = 3
"""A text with fewer words ("n/a", "No comment") says too little to be known by: see `is_telling`."""
_BRIEF = "brief-"

# What no reader sees: soft hyphens, joiners, marks of direction, variation selectors, tags.
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
_TYPOGRAPHY = str.maketrans({
    **dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″«»", '"'), **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("\f\r", "\n"),
})  # fmt: skip
_LINK = re.compile(
    r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"\n]*\")?\)|<((?:https?://|mailto:)[^<>\s]+)>"
)
_LINE_MARKS = re.compile(
    r"^[ \t>]*(?:#{1,6}(?=[ \t]|$)|[-*+•▪◦·](?=[ \t])|[-=*_]{2,}[ \t]*$|(?:'''|~~~)\w*[ \t]*$)?", re.MULTILINE
)
_CELLS = re.compile(r"\||(?<![^\s|]):?-{3,}:?(?![^\s|])")
_EMPHASIS = re.compile(r"(?<![\w\\])(\*{1,3}|_{1,3}|~~)(?=\S)((?:[^*_~\n]|\n(?!\s*\n))+?)(?<=\S)\1(?!\w)")
_CODE = re.compile(r"(?<![\\\w`])(`{1,3})([^`\n]+)\1(?![`\w])")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
# A word that a line end divides is the word without its hyphen, so hyphens within words do not count.
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\s*(?=[^\W\d_])")
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_DIVIDED = re.compile(f"(?<=[{_IDEOGRAPHS}])\\s+(?=[{_IDEOGRAPHS}])")
# Scripts without spaces: about two ideographs, or four letters of Thai, Lao, Khmer or Burmese, are a word.
_UNSPACED = {2: re.compile(f"[{_IDEOGRAPHS}]"), 4: re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")}


def identity_of(text: str) -> str:
    """A digest of what the text says: 32 hex digits, after `brief-` where it has fewer than `MIN_WORDS` words; empty
    where it says nothing."""
    words = _words(text)
    if not words:
        return ""
    num_words = len(words) + sum(len(letters.findall(text)) // number for number, letters in _UNSPACED.items())
    digest = hashlib.sha256(" ".join(words).encode(errors="surrogatepass")).hexdigest()[:32]
    return digest if num_words >= MIN_WORDS else _BRIEF + digest


def is_telling(identity: str) -> bool:
    """Whether two documents with this identity are one: False for a text of a word or two, or none."""
    return bool(identity) and not identity.startswith(_BRIEF)


def _words(text: str) -> list[str]:
    text = _CODE.sub(r"\2", _without_comments(text))
    text = unicodedata.normalize("NFKC", html.unescape(text)) if "&" in text or not text.isascii() else text
    text = _INVISIBLE.sub("", text).translate(_TYPOGRAPHY)
    text = _LINE_MARKS.sub("", _LINK.sub(_shown, text))
    text = _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", _CELLS.sub(" ", text)))
    text = _HYPHEN.sub("", _ESCAPE.sub(r"\1", text))
    return _DIVIDED.sub("", text).split()


def _without_comments(text: str) -> str:
    before, *others = text.split("<!--")
    parts = (each.partition("-->") for each in others)
    return before + "".join(behind if end else f"<!--{comment}" for comment, end, behind in parts)


def _shown(link: re.Match[str]) -> str:
    """A link or a picture as its words, an address in angle brackets as the address."""
    return str(link[1] if link[1] is not None else link[2])
