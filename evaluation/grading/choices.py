"""Multiple choice, graded by which letter the model finds likeliest (as MMLU is: Hendrycks et al., 2009.03300).

The choices stand in the question as lettered lines, the reply is one token, and the endpoint tells the
log-probabilities of the likeliest tokens in its place. So a choice is measured, not sampled, over any OpenAI-compatible
chat endpoint. A model that thinks before it answers is asked for its answer instead, and the letter is read there.

The letters are ours, not the file's: people write the right choice first, and some models say A whatever is asked. The
right choices of a slice take the letters in turn, in an order that is drawn by digests; the wrong ones follow in such
an order. The same file always gives the same letters, and a question at its end changes no others.

    questions = balance_letters(questions)
    answer = await ask_async(client, model, wording(question), **PARAMETERS)
    found = read(top_logprobs, question)  # {"Iron": -0.1, "Gold": -2.3}; None: the reply cannot be graded
"""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.fingerprints.digests import digest_json
from evaluation.questions.question import Question
from evaluation.questions.words import normalise

CHOICE_PARAMETERS: dict[str, Any] = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}
# What tokenizers put for a space, where an endpoint gives tokens as they stand in the vocabulary.
AROUND_A_LETTER = string.whitespace + "()[]{}<>▁Ġ"
TIE_TOLERANCE = 1e-6
SPEAKS_OF_OTHERS = re.compile(
    r"(?i:\b(?:all|none|both|neither|either|any|alle|keine|beide|toutes|tous|aucune?|todas|ninguna) (?:\w+ ){0,3}"
    r"(?:above|below|these|those|them|others?|options?|choices?|answers?|antworten|genannten|réponses|anteriores)\b)"
    r"|(?i:^\W*(?:both|neither|all|none|beide|keine)\W*$)|(?i:\b(?:above|below|preceding|previous)\b)"
    r"|\b[A-Z]\)?(?: and | or | & | und | et | y |, )\(?[A-Z]\b"
)


def balance_letters(questions: Sequence[Question]) -> list[Question]:
    """The questions, those of choice with their choices in the order in which they are lettered.

    Within a slice and a number of choices every letter is right equally often, to one. A question whose choices speak
    of each other ("all of the above") keeps its order.
    """
    numbers: Counter[tuple[str, int]] = Counter()
    balanced = []
    for question in questions:
        if question.kind == "choice" and not any(map(SPEAKS_OF_OTHERS.search, question.choices)):
            group = (question.slice, len(question.choices))
            question = question.model_copy(update={"choices": _in_order(question, numbers[group])})
            numbers[group] += 1
        balanced.append(question)
    return balanced


def _in_order(question: Question, number: int) -> tuple[str, ...]:
    """The choices, with the right one where the `number`-th question of its group has it."""
    right, count = question.answers[0], len(question.choices)
    turn = f"{question.slice} {count} {number // count}"
    places = sorted(range(count), key=lambda place: digest_json([turn, place]))
    wrong = (choice for choice in question.choices if choice != right)
    order = sorted(wrong, key=lambda choice: digest_json([question.id, choice]))
    order.insert(places[number % count], right)
    return tuple(order)


_ANSWER_WORDS = re.compile(
    r"^\W*(?:(?:so|therefore|thus),?\s+)?(?:the\s+)?(?:(?:correct|right|final|best)\s+)?(?:answer|choice|option|letter)"
    r"\W*(?:is|:)?\s*(?:(?:option|choice|letter)\s)?",
    re.IGNORECASE,
)


def lettered_wording(question: Question, text: str | None = None) -> str:
    """What is sent: the question (or `text`, another wording of it), the choices, and how to answer."""
    lines = [f"{letter}) {choice}" for letter, choice in zip(string.ascii_uppercase, question.choices, strict=False)]
    return "\n".join([text or question.question, *lines, "Answer with the letter only."])


def read_choice_probabilities(top_logprobs: Sequence[tuple[str, float]], question: Question) -> dict[str, float] | None:
    """The log-likelihood of each choice whose letter is among the tokens, by the choice's text; None without any.

    Args:
        top_logprobs: tokens and their natural log-probabilities, in place of the first token of the answer.
    """
    by_letter: dict[str, list[float]] = {}
    letters = dict(zip(string.ascii_uppercase, question.choices, strict=False))
    for token, logprob in top_logprobs:
        choice = letters.get(token.strip(AROUND_A_LETTER))
        if choice is not None and math.isfinite(logprob):
            by_letter.setdefault(choice, []).append(logprob)
    return {choice: _log_of_sum(by_letter[choice]) for choice in question.choices if choice in by_letter} or None


def read_answered_choice(answer: str, question: Question) -> dict[str, float] | None:
    """The choice that an answer names, by its letter or in its words, as certain; None where it names none or several.

    For a model that thinks before it answers: the token in the first place then says nothing about a choice.
    """
    letters = dict(zip(string.ascii_uppercase, question.choices, strict=False))
    lines = [line for line in answer.split("\n") if line.strip()]
    for text in (answer, lines[-1] if lines else ""):
        plain = (
            _ANSWER_WORDS.sub("", text).strip(f"{AROUND_A_LETTER}*_`.:$\\").removeprefix("boxed").strip(AROUND_A_LETTER)
        )
        lettered = re.fullmatch(r"([A-Z])(?:[).:]\W*(.+))?", plain, re.DOTALL)
        if lettered and lettered[1] in letters and lettered[2] in (None, "", letters[lettered[1]]):
            return {letters[lettered[1]]: 0.0}
        if named := [choice for choice in question.choices if normalise(choice) == normalise(plain)]:
            return {named[0]: 0.0}
    return None


def likeliest_choice(choices: Mapping[str, float]) -> str | None:
    """The likeliest choice; None where two are equally likely."""
    ranked = sorted(choices, key=lambda choice: -choices[choice])
    tied = len(ranked) > 1 and math.isclose(choices[ranked[0]], choices[ranked[1]], abs_tol=TIE_TOLERANCE)
    return None if tied or not ranked else ranked[0]


def _log_of_sum(logprobs: Sequence[float]) -> float:
    """The logarithm of a sum of probabilities, also where each is too small for a float."""
    most = max(logprobs)
    return most + math.log(sum(math.exp(logprob - most) for logprob in logprobs))
