"""Words that a line's end parts become one word again; hyphens that belong to a word stay."""

import re

_PARTED = re.compile(r"(?<![\w-])([^\W_]+(?:-[^\W_]+)*)([-\u2010\u00ad])\n+([^\W_]+(?:-[^\W_]+)*)([.,;:!?)\]\"”»’]*) ?")
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


def join_parted_words(text: str) -> str:
    """Text in which `infra-\\nstructure` is `infrastructure`; the rest of the line follows on one of its own.

    The hyphen stays before a capital or a number, behind a single letter, in a word that has another one, and where the
    text writes the word with it elsewhere and never without it.
    """
    words = {word.lower() for word in _WORD.findall(text)}

    def joined(found: re.Match[str]) -> str:
        before, hyphen, after, signs = found.groups()
        is_sure = hyphen == "\u00ad" or (before + after).lower() in words
        is_parted = (
            before.isalpha() and len(before) > 1 and after.isalpha() and after[0].islower()
        ) and f"{before}-{after}".lower() not in words
        return f"{before}{'' if is_sure or is_parted else '-'}{after}{signs}\n"

    return _PARTED.sub(joined, text).replace("\u00ad", "")
