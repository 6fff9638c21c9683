"""Whether an answer refuses: says that the answer is not known, and gives none.

read_refusal("Who is the CEO of Foo?", "I'm sorry, but I don't know.")  # Refusal.PLAIN
"""

import re
from enum import Enum

from evaluation.questions.words import SENTENCE_END, asked_words, normalise

REFUSAL = re.compile(
    r"\b(?:(?:do|does|did) not|don't|doesn't|didn't|can ?not|can't|could not|couldn't) "
    r"(?:\w+ )?(?:know|answer|say|tell|find|determine|hold|contain|mention|state|provide|include|give|specify)\b"
    r"|\b(?:unable|not able) to (?:answer|say|tell|find|determine)\b"
    r"|\b(?:no|not enough|insufficient) (?:information|answer)\b"
    r"|\b(?:is|are|was|were) (?:unknown|not (?:mentioned|stated|given|provided|specified|contained|included|known))\b"
)
APOLOGY = re.compile(r"(?:i am |i'm )?(?:so |very )?sorry|(?:i )?apologi[sz]e|unfortunately")
SECOND_THOUGHTS = {"but", "however", "perhaps", "maybe", "probably", "possibly", "although", "though", "likely"}


class Refusal(Enum):
    """How an answer refuses."""

    NONE = "none"
    """It does not refuse: it is an answer, right or wrong."""

    PLAIN = "plain"
    """It refuses and gives no value."""

    CONTRADICTED = "contradicted"
    """It refuses flatly and gives a value all the same ("I do not know. It is 26.")."""

    UNCLEAR = "unclear"
    """The rules cannot say which of these it is."""


def read_refusal(question: str, answer: str) -> Refusal:
    """How an answer to a question refuses. Pure: the same answer always reads the same.

    Args:
        question: the question's text; a refusal may repeat its words.
        answer: the answer without citation marks.
    """
    if REFUSAL.search(normalise(answer)) is None:
        return Refusal.NONE
    return Refusal.CONTRADICTED if _gives_value(question, answer) else Refusal.PLAIN


def _gives_value(question: str, text: str) -> bool:
    """Whether a refusal says more than that it refuses."""
    question_words = asked_words(question)
    for sentence in map(normalise, SENTENCE_END.split(text)):
        new_words = [word for word in sentence.split() if word not in question_words]
        if not new_words or APOLOGY.fullmatch(sentence):
            continue
        if REFUSAL.search(sentence) is None:
            return True
        if any(word in SECOND_THOUGHTS or any(map(str.isdigit, word)) for word in new_words):
            return True
    return False
