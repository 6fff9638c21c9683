"""Questions that hold a denial or a limit themselves: what denies or limits an answer to them, and what does not.

"Which browser is not supported?" is answered by "X is not supported", and not by "X is supported". "How many at most?"
is answered by "no more than 6", and not by "more than 6".
"""

import re
from functools import lru_cache

from evaluation.grading.values.cues import FILLER, NOT, words
from evaluation.grading.values.segments import Segment

DENYING = re.compile(rf"(?:^|\s)(?:{NOT})(?=\s|$)|\bunsupported\b")
AVOIDING = re.compile(
    r"\b(?:avoid\w*|prohibit\w*|forbidden|banned|exclud\w*|except\w*|refrain\w*|vermeid\w*|vermied\w*|verboten\w*|"
    r"ausgeschlossen|evit\w*|interdit\w*|exclu\w*|prohibid\w*|vietat\w*|proibid\w*|stay away)\b"
)
DENIALS = words("denials")
MOST = re.compile(
    r"\b(?:max\w*|at most|limit\w*|up to|until|till|by (?:when|what|which)|within|latest|deadline|longest|highest|"
    r"largest|upper|no more|cap|exceed\w*|"
    r"hochst\w*|bis|plafond|jusqu|hasta|fino|ate)\b"
)
LAST = re.compile(
    r"\b(?:until|till|by (?:when|what|which)|latest|deadline|bis wann|spatestens|jusqu|hasta cuando|entro quando)\b"
)
ENDING = re.compile(
    r"\b(?:expir\w*|ends?|ended|clos\w*|laps\w*|stops?|stopped|terminat\w*|ceas\w*|invalid|void|(?:too )?late|locked)\b"
    r"(?:\s\S+){1,3}$"
)
"""What ends "after" a date is limited by it."""
STARTING = re.compile(r"(?:^|\s)(?:from|starting|as of|ab|a partir d[eu]l?|desde)(?: the| dem| den| el)?$")
LEAST = re.compile(
    r"\b(?:min\w*|at least|lowest|shortest|smallest|lower|earliest|mindest\w*|au moins|al menos|almeno)\b"
)
ABOVE = re.compile(
    r"(?:more than|over|above|exceeding|beyond|greater than|higher than|longer than|later than|after|"
    r"upwards of|at least|"
    r"minimum of|mehr als|uber|plus de|mas de|piu di|mais de)(?: the| a| about)?$"
)
BELOW = re.compile(
    r"(?:less than|under|below|fewer than|lower than|shorter than|at most|up to|maximum of|weniger als|unter|moins de|"
    r"menos de|meno di)(?: the| a| about)?$"
)
NOT_BEFORE = re.compile(rf"(?:^|\s)(?:{NOT}|no|without)\s(?:\S+\s){{0,4}}?\S+(?: \S+)?$")


@lru_cache(maxsize=4_096)
def denies(question: str) -> bool:
    """Whether a question, in plain words, asks for what is not so, or to be avoided."""
    return DENYING.search(question) is not None or AVOIDING.search(question) is not None


def affirms_what_is_denied(segments: list[Segment], number: int, question: str) -> bool:
    """Whether a clause says of a thing what the question denies, or the other way round: "X need not be avoided"."""
    if not denies(question):
        return False
    keys = list(segments[number].keys)
    if number + 1 < len(segments) and segments[number + 1].mark == "not":
        keys += segments[number + 1].keys
    clause = " ".join(keys)
    denied = DENYING.search(clause) is not None
    if AVOIDING.search(question) and not DENYING.search(question):
        return denied and AVOIDING.search(clause) is not None
    if denied or AVOIDING.search(clause) or not DENIALS.isdisjoint(keys):
        return False
    match = DENYING.search(question)
    behind = [word for word in question[match.end() :].split() if len(word) > 2 and word not in FILLER] if match else []
    return any(key.startswith(word[: max(4, len(word) - 2)]) for word in behind for key in keys)


def is_beyond(question: str, before: str, of_time: bool = False) -> bool:
    """Whether the words before a number put the answer beyond the limit that the question asks for: "more than".

    Args:
        of_time: it is a date or a time of day, which "from" puts beyond a last one too.
    """
    said = ABOVE.search(before) if MOST.search(question) else BELOW.search(before) if LEAST.search(question) else None
    if of_time and said is not None and ENDING.search(before):
        return False
    said = said or (STARTING.search(before) if of_time and LAST.search(question) else None)
    return said is not None and not NOT_BEFORE.search(before)


def is_kept_within(question: str, before: str) -> bool:
    """Whether the words before a date or time forbid what is beyond it, where the question asks for the last one: "not
    after"."""
    return bool(MOST.search(question) and ABOVE.search(before) and NOT_BEFORE.search(before))
