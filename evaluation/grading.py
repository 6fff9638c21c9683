"""Whether an answer is right: the rules, and nothing else.

Before comparing, answer and accepted value are made plain: NFKC, lower case, one kind of hyphen, minus and apostrophe,
no thousands separators, one space between words, no quotes, brackets or emphasis around a word, no end stop. Hyphens,
decimal points and signs stay: "-26", "1.26" and "126" are not "26", "Guinea-Bissau" is not "Bissau".

**An answerable question.** Citation marks such as [1] are dropped. The answer is right where it is an accepted value,
or where it ends with one and
  - the word before the value is a linking word ("is", "the", "of", "code", "it's" ...) or a word of the question: an
    answer of "South Sudan" does not hold "Sudan", but "The atomic number is 26" and "status 404" hold their numbers.
    A value that begins a sentence or follows a colon stands by itself;
  - nothing in that sentence denies or hedges it ("not", "or", "either" ...), unless the question uses the same word.
An answer that refuses is never right, whatever else it says. An empty answer is an answer, and wrong.

**A form.** Where the question has one, the answer without citation marks has to match it from end to end (spaces
around it apart). The value is then read from the group `value` and has to be an accepted one; where the form is missed,
the value is looked for as above, so that form and content are scored apart. Right means both.

**An unanswerable question.** Right is a plain refusal ("I do not know", "the passages do not say" ...) and no value
beside it: no number that the question does not name, no "but" or "maybe", no further sentence but an apology.

**Citations.** `cited_right`: a passage that the answer cites comes from one of the question's sources.
`retrieved_right`: one of the passages put in front of the question does, cited or not.

Limits: values are read at the end of an answer only, refusals are recognised in English only.
"""

import re
import unicodedata
from collections.abc import Sequence

from evaluation.questions import Question
from evaluation.results import CitedSource, Grade

CITATION_MARKS = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
REFUSAL = re.compile(
    r"\b(?:(?:do|does|did) not|don't|doesn't|didn't|can ?not|can't|could not|couldn't) "
    r"(?:\w+ )?(?:know|answer|say|tell|find|determine|hold|contain|mention|state|provide|include|give|specify)\b"
    r"|\b(?:unable|not able) to (?:answer|say|tell|find|determine)\b"
    r"|\b(?:no|not enough|insufficient) (?:information|answer)\b"
    r"|\b(?:is|are|was|were) (?:unknown|not (?:mentioned|stated|given|provided|specified|contained|included|known))\b"
)
APOLOGY = re.compile(r"(?:i am |i'm )?(?:so |very )?sorry|(?:i )?apologi[sz]e|unfortunately")
SECOND_THOUGHTS = {"but", "however", "perhaps", "maybe", "probably", "possibly", "although", "though", "likely"}
DENIALS = {"not", "never", "neither", "nor", "or", "either", "cannot", "without", "unlike", "except"}
LINKING_WORDS = {
    "a", "an", "the", "is", "are", "was", "were", "be", "been", "being", "it's", "that's", "as", "at", "by", "called",
    "code", "equals", "exactly", "from", "has", "have", "in", "into", "named", "number", "of", "on", "since", "spelled",
    "symbol", "to", "use", "uses", "with", "written", "year", "=",
}  # fmt: skip
SAME_CHARACTER = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("’‘ʼ", "'") | dict.fromkeys("“”„«»", '"'))
AROUND_A_WORD = "\"'`*_()[]{}<>,;:!?。"


def grade(question: Question, answer: str, citations: Sequence[CitedSource] = (), retrieves: bool = False) -> Grade:
    """Grade one answer by the rules above. Pure: the same answer always gets the same grade."""
    text = CITATION_MARKS.sub("", answer).strip()
    refused = _refuses(text)
    form = None if question.form is None else re.fullmatch(question.form, text) is not None
    content = _content(question, text, refused)
    judged = retrieves and bool(question.sources)
    return Grade(
        correct=content and form is not False,
        content=content,
        form=form,
        refused=refused,
        cited_right=_from_source(question, [found for found in citations if found.cited]) if judged else None,
        retrieved_right=_from_source(question, citations) if judged else None,
    )


def normalise(text: str) -> str:
    """The plain form of a text that is compared: see the rules above."""
    text = unicodedata.normalize("NFKC", text).translate(SAME_CHARACTER).casefold()
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return " ".join(word for word in map(_bare, text.split()) if word)


def _bare(word: str) -> str:
    """A word without the punctuation around it; a leading point or sign belongs to the number."""
    before = None
    while before != word:
        before, word = word, word.strip(AROUND_A_WORD).rstrip(".")
    return word


def _content(question: Question, text: str, refused: bool) -> bool:
    if not question.answerable:
        return refused and not _gives_value(question, text)
    if refused:
        return False
    match = re.fullmatch(question.form, text) if question.form else None
    if match:
        return normalise(match["value"] or "") in map(normalise, question.answers)
    return any(_ends_with(question, text, value) for value in question.answers)


def _ends_with(question: Question, text: str, value: str) -> bool:
    """Whether the answer is the value, or a sentence that ends with it and means it."""
    words, expected = _words(text), normalise(value).split()
    if not expected or [word for word, _ in words[-len(expected) :]] != expected:
        return False
    before = _last_sentence(words[: -len(expected)])
    asked = _asked(question)
    if any(word in DENIALS or word.endswith("n't") for word, _ in before if word not in asked):
        return False
    if not before:
        return True
    last, mark = before[-1]
    return mark == ":" or last in LINKING_WORDS or last.removesuffix("'s") in asked


def _words(text: str) -> list[tuple[str, str]]:
    """Plain words, each with the mark that ends a sentence or opens a value after it: one of . ! ? : or nothing."""
    words = []
    for line in text.splitlines():
        raws = [raw for raw in line.split() if normalise(raw)]
        for raw in raws:
            mark = raw.rstrip("\"'”’*_`)")[-1:]
            words += [(word, "") for word in normalise(raw).split()]
            words[-1] = (words[-1][0], mark if mark in ".!?:" else "")
        if raws and not words[-1][1]:
            words[-1] = (words[-1][0], ".")
    return words


def _last_sentence(words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    ends = [index for index, (_, mark) in enumerate(words) if mark and mark in ".!?"]
    return words[ends[-1] + 1 :] if ends else words


def _asked(question: Question) -> set[str]:
    words = normalise(question.question).split()
    return {*words, *(word.removesuffix("'s") for word in words)}


def _refuses(text: str) -> bool:
    return REFUSAL.search(normalise(text)) is not None


def _gives_value(question: Question, text: str) -> bool:
    """Whether a refusal says more than that it refuses."""
    asked = _asked(question)
    for sentence in map(normalise, SENTENCE_END.split(text)):
        new_words = [word for word in sentence.split() if word not in asked]
        if not new_words or APOLOGY.fullmatch(sentence):
            continue
        if REFUSAL.search(sentence) is None:
            return True
        if any(word in SECOND_THOUGHTS or any(map(str.isdigit, word)) for word in new_words):
            return True
    return False


def _from_source(question: Question, citations: Sequence[CitedSource]) -> bool:
    named = [each for found in citations for each in (found.source, *found.also_in)]
    return any(_same_document(each, source) for each in named for source in question.sources)


def _same_document(found: str, source: str) -> bool:
    """Paths are compared from their ends: the collection may know the document by a longer path."""
    found, source = found.replace("\\", "/"), source.replace("\\", "/").removeprefix("./")
    return found == source or found.endswith("/" + source)
