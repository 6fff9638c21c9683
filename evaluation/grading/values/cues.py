"""The words that say how a clause means a value: denied, once true, believed by others, supposed, or uncertain.

A clause is matched as its words with the value's place as §: "it is not §", "§ is not the capital", "it used to be §".
They are in words.toml. What a question says itself is no cue: "Which setting cannot be changed?" is answered by "the
setting that cannot ...".
"""

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
NOT: str = TABLE["cues"]["not"].replace("\n", "")


def words(name: str) -> frozenset[str]:
    """The words of one entry."""
    return frozenset(TABLE[name].split())


def cue(name: str) -> re.Pattern[str]:
    """One of the cues."""
    return re.compile(TABLE["cues"][name].replace("\n", "").replace("<NOT>", NOT))


NEUTRAL = cue("neutral")
DENIED_BEFORE = cue("denied_before")
DENIED_AFTER = cue("denied_after")
PAST = cue("past")
PAST_TAIL = cue("past_tail")
CHANGED = cue("changed")
PAST_LEAD = cue("past_lead")
PAST_QUESTION = cue("past_question")
BELIEVED = cue("believed")
HEDGED = cue("hedged")
EITHER = cue("either")
CANDIDATES = cue("candidates")
UNSURE = cue("unsure")
SUPPOSED = cue("supposed")
ECHO = cue("echo")
SOURCE_LABEL = cue("source_label")
CORRECTION = cue("correction")
STRONG_CORRECTION = cue("strong_correction")
NOW = cue("now")
ANSWER_WORDS = words("answer_words")
PRONOUNS = words("pronouns")
ORS = words("ors")
KINDS = words("kinds")
FILLER = KINDS | words("filler")
INTERJECTIONS = words("interjections")
REFERENCE = cue("reference")
BOUND_BEFORE = cue("bound_before")
CONTEXT = cue("context")
RELATIVE = cue("relative")
BOUND_AFTER = cue("bound_after")
OPPOSITES = [(one, other) for one, _, other in (line.partition(" / ") for line in TABLE["opposites"])]
SIGN_BOUND = cue("sign_bound")
BOUND_QUESTION = cue("bound_question")
RANGE_GAP = cue("range_gap")
BETWEEN = cue("between")


@lru_cache(maxsize=64)
def any_of(words: str) -> re.Pattern[str]:
    """Any of the words, the longer ones with any ending."""
    forms = [word.replace("_", " ?") + (r"\w*" if len(word) > 3 else r"\b") for word in words.split()]
    return re.compile(r"\b(?:" + "|".join(forms) + ")")


def opposites_of(question: str) -> tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]:
    """Of each pair of opposites of which the question has one: that one, and the other."""
    pairs = [(any_of(one), any_of(other)) for pair in OPPOSITES for one, other in (pair, pair[::-1])]
    return tuple((one, other) for one, other in pairs if one.search(question) and not other.search(question))


@lru_cache(maxsize=4_096)
def asked_cues(question_keys: str) -> frozenset[str]:
    """Words of the cues that the question uses itself."""
    return frozenset(question_keys.split())


def is_cue(pattern: re.Pattern[str], masked: str, asked: frozenset[str]) -> bool:
    """Whether a clause has a cue in words that the question does not use."""
    match = pattern.search(masked)
    while match:
        said = [word for word in match[0].split() if word != "§"]
        denials = [word for word in said if DENIAL.fullmatch(word)]
        if any(word not in asked for word in denials or [word for word in said if word not in LIGHT] or said):
            return True
        match = pattern.search(masked, match.start() + 1)
    return False


DENIAL = re.compile(f"{NOT}|no")
LIGHT = FILLER | PRONOUNS | words("light")
