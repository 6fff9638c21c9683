"""Answers that give what is asked as the exception: "every browser but Lynx is supported" for what is not supported.

The sentence becomes its exception alone, where the question denies what the sentence says of all the others, or asks
for the opposite ("open every day except Monday" for the day on which it is closed).
"""

import re
from functools import lru_cache

from evaluation.grading.values.alike.denials import DENYING
from evaluation.grading.values.cues import opposites_of
from evaluation.grading.values.segments import tokens_of
from evaluation.questions.question import Question

ALL = (
    r"\b(?:every\w*|all|any(?:thing|one|body|where)?|each|daily|always|alle|jede[rsnm]?|täglich|tou(?:s|t|tes)|chaque|"
    r"tod[oa]s?|tutt[iaeo]|ogni)\b"
)
EXCEPT = (
    r"\b(?:but|except(?:ing)?(?: for)?|other than|apart from|aside from|save(?: for)?|excluding|besides|bar|with the "
    r"exception of|außer|bis auf|ausgenommen|sauf|excepté|hormis|à part|excepto|salvo|menos|tranne|eccetto|exceto)\b"
)
LITTLE = r"(?:(?:for|on|in|at|the|an?|le|la|les|el|los|am|an|dem|den|der|die|das) )*"
NO_OTHER = r"(?!\s*(?:,\s*(?:and|or)\b|/|&|(?:and|or|und|oder|et|ou|y|o|e)\b)\s*\S)(?!\s*,\s*\S+\s*(?:,|and\b|or\b))"
SENTENCE = re.compile(r"[^.!?;\n]+(?:\.(?=\w)[^.!?;\n]+)*")


def without_exception(question: Question, text: str) -> str:
    """The text with "V" for a sentence that says of all but V what the question denies of V."""
    if question.kind != "value" or re.search(EXCEPT, text, re.IGNORECASE) is None:
        return text
    patterns = _patterns(question.answers)
    asked = _plain(question.question)
    for sentence in SENTENCE.findall(text):
        found = next((match for pattern in patterns if (match := pattern.search(sentence))), None)
        if found is not None and _asks_for_the_exception(asked, sentence.replace(found["value"], " ")):
            text = text.replace(sentence, f"{' ' if sentence[0].isspace() else ''}{found['value']}")
    return text


@lru_cache(maxsize=8_192)
def _patterns(answers: tuple[str, ...]) -> list[re.Pattern[str]]:
    values = "|".join(re.escape(answer) for answer in sorted(answers, key=len, reverse=True))
    value = rf"{EXCEPT} {LITTLE}(?P<value>{values})(?:s\b|\b|(?<=\W))"
    return [
        re.compile(rf"{ALL}.{{0,80}}?{value}{NO_OTHER}", re.IGNORECASE),
        re.compile(rf"^\s*{value}\s*,?\s+(?:\w+ ){{0,3}}?{ALL}", re.IGNORECASE),
    ]


def _asks_for_the_exception(asked: str, sentence: str) -> bool:
    said = _plain(sentence)
    if DENYING.search(asked):
        return DENYING.search(said) is None
    return any(other.search(said) and not one.search(said) for one, other in opposites_of(asked))


def _plain(text: str) -> str:
    return " ".join(token.key for token in tokens_of(text))
