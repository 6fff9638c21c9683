"""Which files of a folder or an object store are documents, and what the others are counted as.

    left_out: Counter[str] = Counter()
    left_out[kind] += 1
    describe_left_out(left_out)    # "65 files of other kinds were left out (.zip 25, .png 22, ...)."

What is hidden (a name that begins with a dot) is left out and not counted: it is meant not to be seen.
"""

import re
from collections import Counter
from collections.abc import Mapping
from posixpath import splitext

from retrieval.sources.parsing.formats import SUFFIXES

TEMPORARY = "lock and backup files"
NO_SUFFIX = "without a suffix"
MAX_SHOWN = 10

# Owner files of Word, Excel and PowerPoint (~$report.docx), copies that Office writes while it saves (~WRL0001.docx),
# auto-saves of Emacs (#notes.md#) and what JetBrains (report.md___jb_tmp___) and many others write before they rename.
_TEMPORARY = re.compile(r"~\$.*|~WR[A-Z]\d+\..*|#.*#|.*~|.*\.(?:tmp|temp|bak|sw[j-px]|kate-swp)|.*___jb_\w+___", re.I)
_SUFFIX = re.compile(r"\.[\w+-]{1,16}")


def kind_left_out(name: str) -> str | None:
    """What a file is counted as when it is left out; None for a document. The last part of its path decides."""
    if _TEMPORARY.fullmatch(name):
        return TEMPORARY
    suffix = splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return None
    return suffix if _SUFFIX.fullmatch(suffix) else NO_SUFFIX


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """One line that counts them by kind, the most frequent first; empty where there are none."""
    if not left_out:
        return ""
    kinds = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{kind} {count}" for kind, count in kinds[:MAX_SHOWN]]
    if len(kinds) > MAX_SHOWN:
        shown.append(f"{len(kinds) - MAX_SHOWN} more kinds")
    total = Counter(left_out).total()
    files, were = ("file", "was") if total == 1 else ("files", "were")
    return f"{total} {files} of other kinds {were} left out ({', '.join(shown)})."


def describe_pages_left_out(left_out: Mapping[str, int]) -> str:
    """The same for what sitemaps name and is not read, by the reason."""
    reasons = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return f"Left out of sites: {', '.join(f'{count} {reason}' for reason, count in reasons)}." if reasons else ""
