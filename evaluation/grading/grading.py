"""Whether an answer is right: the rules, and nothing else.

Answer and accepted value are compared in their plain form (questions/words.py). Thinking in tags is no answer
(questions/thinking.py). Citation marks such as [1] are dropped. An empty answer is an answer, and wrong. What counts as
right is said by the question's kind:

**`value` and `number`.** The answer gives an accepted value, wherever it is in whatever sentence, and no other
(values/reading.py). Where the rules cannot say, the answer is unclear, and counts as neither right nor wrong. An answer
that refuses (refusals.py) is never right, unless an accepted value reads as a refusal does ("no information
available"): then the value decides.

**`regex`.** A pattern matches the plain form of the answer from end to end, in upper or lower case. Or it matches
something in the answer that is no part of a longer word or code, and the answer gives that as it would give a value:
denied, supposed, or one of several, it is wrong.
**`json`.** The whole answer is JSON that the schema accepts, and an accepted value where there are any
(questions/json_values.py). JSON in a code block misses the form and may hold the value.
**`choice`.** The likeliest choice is the accepted one (choices.py).
**`rubric`.** A judge said so (asking/judge.py).

**A form.** Where a question of kind `value` or `number` has one, the answer without citation marks has to match it from
end to end (spaces around it apart). The value is then looked for in the group `value`; where the form is missed, in the
whole answer, so that form and content are scored apart. Right means both.

**An unanswerable question.** Right is a refusal ("I do not know", "the passages do not say" ...) and no value beside
it; where the rules cannot say whether there is one, the answer is unclear. refusals.py has the rules.

**Beside right and wrong.** `f1` is the overlap in words with the nearest accepted answer (SQuAD's: Rajpurkar et al.,
2016, arXiv 1606.05250), for kinds whose accepted answers are words; citations.py says what citations are worth.

**No grade.** A choice without likelihoods, or with two likeliest, a rubric without a judge's word and an answer on
which a pattern takes too long (questions/patterns.py) are `Ungradable`: neither right nor wrong.

Limits: refusals are recognised in the languages of refusals.toml.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from evaluation.grading.answer_line import is_lined, read_answer_line
from evaluation.grading.choices import likeliest_choice
from evaluation.grading.citations import judge_citations
from evaluation.grading.refusals import Refusal, read_refusal
from evaluation.grading.values.alike.denials import denies
from evaluation.grading.values.cleaning import clean
from evaluation.grading.values.profile import is_yes_no, profile_of
from evaluation.grading.values.reading import MAX_CHARACTERS, Verdict, read_value
from evaluation.grading.values.yes_no import begins_with_no
from evaluation.questions.json_values import MISSING, parse_json, schema_accepts
from evaluation.questions.patterns import PatternTooSlow, find_all, full_match
from evaluation.questions.question import Question
from evaluation.questions.thinking import split_thinking
from evaluation.questions.words import CITATION_MARKS, normalise, words_of
from evaluation.replies import CitedSource, Grade, Reply

if TYPE_CHECKING:
    from evaluation.questions.question import Question


ARTICLES = {"a", "an", "the"}
MAX_MATCHES = 4
"""Of what a pattern matches in an answer; an answer with more is a list."""

DECLINED = "I do not know."
"""What is graded in place of a text that the endpoint marked as a refusal, whatever the model's words are."""

BETWEEN_ITEMS = r"(?:\s*[,;/&\n]\s*(?:(?:and|or)\s+)?|\s+(?:and|or|und|oder|et|ou|y|o|e|или|и)\s+)"
BARE_DENIAL = re.compile(r"(?:it|they|he|she|that|this|there|you|we|one) (?:\w+n't|\w+ not|cannot)")
"""All of an answer that says no ("It isn't."), and may refuse as well."""
SAYS_OF_A_TEXT = re.compile(
    r"\b(?:i|we|know\w*|sure|clear|information|mention\w*|state[sd]?|specif\w*|say|says|passages?|documents?|texts?|contexts?|"
    r"sources?|excerpts?|manual|page|answer\w*)\b"
)
SAYS_OF_ITSELF = re.compile(r"\b(?:do not|don't|am not|not) (?:know|sure|certain)\b", re.IGNORECASE)
CONCEDES = re.compile(
    r"(?:while|although|though|even though|even if|obwohl|bien que|aunque|sebbene|embora)\b[^,]*,(.*)", re.I | re.S
)
BUT = re.compile(
    r"(?:[,;.]|\s[-–—])\s*(?:but|however|yet|still|nevertheless|though|aber|jedoch|mais|cependant|pero|sin embargo"
    r"|ma|però|tuttavia|mas|porém|но|однако)\b,?",
    re.IGNORECASE,
)
SAYS_UNKNOWN = re.compile(
    r"(?:(?:it|this|that|the \w+) )?(?:is |was |has )?(?:not (?:been )?(?:stated|given|specified|mentioned"
    r"|disclosed|known|provided|indicated|recorded|documented)|unknown|unspecified|unstated|n/?a"
    r"|(?:cannot|can't) be (?:determined|known|said|told))"
    r"(?: (?:in|from|by) .*)?|(?:the \w+ |it )?(?:does not|doesn't) (?:say|state|mention|specify)(?: .*)?"
    r"|(?:ist )?nicht (?:angegeben|bekannt|genannt|erwähnt)|unbekannt|inconnue?|non (?:précisée?|indiquée?|mentionnée?)"
    r"|no se (?:especifica|indica|menciona|sabe)|desconocid[oa]|non (?:specificat|indicat|not)[oa]|sconosciut[oa]"
    r"|não (?:informad|especificad|mencionad)[oa]|desconhecid[oa]|неизвестно|не указан[оаы]?"
    r"|未提及|未说明|不明|記載なし"
)
GRADED_IN_WORDS = ("value", "number", "rubric")


class Ungradable(ValueError):
    """There is no way to say whether the answer is right; the text says why."""


def grade_reply(
    question: Question, reply: Reply, retrieves: bool, *, judged: bool | str | None = None, has_line: bool = False
) -> Reply:
    """The reply with its grade, or with why it has none; a failed call and a reply without an answer stay as they are.

    Args:
        judged: the judge's word on an answer to a rubric, or why there is none.
        has_line: whether the reply was asked to end with the answer on a line of its own (answer_line.py).
    """
    if reply.failed or reply.no_answer or reply.text is None:
        return reply
    said = DECLINED if reply.declined else reply.text
    text = read_answer_line(said) if has_line and is_lined(question) and not reply.declined else said
    try:
        if isinstance(judged, str):
            raise Ungradable(judged)
        graded = grade(
            question,
            text,
            reply.citations,
            retrieves,
            choices=reply.choices,
            judged=judged,
            cut_off=reply.cut_off,
        )
    except Ungradable as error:
        return reply.model_copy(update={"grade": None, "ungradable": str(error)})
    return reply.model_copy(update={"grade": graded, "ungradable": None})


def grade(
    question: Question,
    answer: str,
    citations: Sequence[CitedSource] = (),
    retrieves: bool = False,
    *,
    choices: Mapping[str, float] | None = None,
    judged: bool | None = None,
    cut_off: bool = False,
) -> Grade:
    """Grade one answer by the rules above. Pure: the same answer always gets the same grade.

    Args:
        choices: the log-likelihood of each choice, for a question of kind `choice`.
        judged: the judge's word, for a question of kind `rubric`, and where the rules cannot say whether a value is
            right.
        cut_off: the answer ended at `max_tokens`: its last word may be half of one.

    Raises:
        Ungradable: where a question of one of these two kinds comes without what it is graded by, or a pattern of the
            question takes too long on the answer.
    """
    answer = split_thinking(answer, ended=not cut_off).answer or ""
    text = CITATION_MARKS.sub("", answer).strip()
    plain = normalise(text)
    refusal = read_refusal(question.question, text)
    if refusal is Refusal.PLAIN and not question.answerable and _guesses(question, text):
        refusal = Refusal.CONTRADICTED
    refused = refusal in (Refusal.PLAIN, Refusal.CONTRADICTED)
    unclear = not question.answerable and refusal is Refusal.UNCLEAR
    blocked = refused and not _sounds_like_a_refusal(question) and BARE_DENIAL.fullmatch(plain) is None
    blocked = blocked and not _denies_as_asked(question, plain) and not _says_no_as_asked(question, text)
    if blocked and (after := _taken_back(question, text)):
        refused, blocked, text, answer = False, False, after, after
        plain = normalise(text)
    try:
        content, form = _content_and_form(question, answer, text, plain, refusal, blocked, choices, judged, cut_off)
    except PatternTooSlow as error:
        raise Ungradable(str(error)) from error
    word = judged if question.kind == "rubric" or content is None else None
    if content is None:
        content, unclear = bool(word), word is None
    citing = judge_citations(question, citations, retrieves)
    return Grade(
        correct=content and form is not False,
        content=content,
        form=form,
        refused=refused,
        cited_right=citing.cited_right,
        retrieved_right=citing.retrieved_right,
        f1=_f1(question, plain),
        citation_precision=citing.precision,
        citation_recall=citing.recall,
        grounded=citing.grounded,
        unclear=unclear,
        judged=word,
    )


def _content_and_form(
    question: Question,
    answer: str,
    text: str,
    plain: str,
    refusal: Refusal,
    blocked: bool,
    choices: Mapping[str, float] | None,
    judged: bool | None,
    cut_off: bool,
) -> tuple[bool | None, bool | None]:
    """Whether the value is right, None where the rules cannot say, and whether the form is kept, None without one."""
    if not question.answerable:
        return refusal is Refusal.PLAIN, None
    if question.kind == "choice":
        return _choice(choices) in question.answers, None
    if question.kind == "rubric":
        return _judged(plain, judged), None
    if question.kind == "json":
        json_grade = grade_json(question, answer)
        return json_grade.content, json_grade.form
    if question.kind == "regex":
        return _matches(question, text, plain, blocked, cut_off), None
    match = full_match(question.form, text) if question.form else None
    if refusal is Refusal.PLAIN and question.kind == "value" and _accepts_a_refusal(question):
        return True, None if question.form is None else match is not None
    content = not blocked and _gives_value(question, match["value"] or "" if match else answer, cut_off)
    return content, None if question.form is None else match is not None


def _matches(question: Question, text: str, plain: str, blocked: bool, cut_off: bool) -> bool | None:
    """Whether the whole answer matches, or a sentence gives what matches as it gives a value."""
    if any(full_match(pattern, plain, ignore_case=True) for pattern in question.answers):
        return True
    cleaned = clean(text[:MAX_CHARACTERS])
    found = [match for pattern in question.answers for match in find_all(pattern, cleaned, ignore_case=True)]
    if blocked or not 0 < len(found) <= MAX_MATCHES or any("\n" in match for match in found):
        return False
    if len(found) > 1 and _is_list(cleaned, found):
        return False
    verdicts = {
        read_value(question.model_copy(update={"kind": "value", "answers": (match,)}), cleaned, cut_off)
        for match in found
    }
    if len(found) > 1 and Verdict.UNCLEAR in verdicts:
        return None
    if Verdict.RIGHT in verdicts:
        return True
    return None if Verdict.UNCLEAR in verdicts else False


def _is_list(text: str, found: list[str]) -> bool:
    """Whether two of what a pattern matches stand together: "AB-12, AB-13", "AB-12 or AB-13"."""
    return any(
        re.search(re.escape(one) + BETWEEN_ITEMS + re.escape(other), text, re.IGNORECASE)
        for one, other in pairwise(found)
    )


def _gives_value(question: Question, answer: str, cut_off: bool) -> bool | None:
    verdict = read_value(question, answer, cut_off)
    return None if verdict is Verdict.UNCLEAR else verdict is Verdict.RIGHT


def _sounds_like_a_refusal(question: Question) -> bool:
    """Whether an accepted value reads as a refusal does ("no information available"), or the question itself: then the
    value decides."""
    asked = question.question.rstrip(" ?")
    return read_refusal("", asked) in (Refusal.PLAIN, Refusal.CONTRADICTED) or any(
        read_refusal(question.question, value) is not Refusal.NONE for value in question.answers
    )


def _accepts_a_refusal(question: Question) -> bool:
    """Whether an accepted value says that the answer is not known: then any words for that are right."""
    return any(SAYS_UNKNOWN.fullmatch(normalise(value)) for value in question.answers)


def _taken_back(question: Question, text: str) -> str:
    """What follows the "but" behind a refusal, where it gives an accepted value: "The text is not explicit for
    contractors, but for new hires it is six months"; "" without such."""
    match = BUT.search(text)
    after = text[match.end() :].strip() if match else ""
    if (
        match is None
        or SAYS_OF_ITSELF.search(text[: match.start()])
        or question.kind not in ("value", "number")
        or read_refusal(question.question, after) is not Refusal.NONE
    ):
        return ""
    return after if read_value(question, after) is Verdict.RIGHT else ""


def _guesses(question: Question, text: str) -> bool:
    """Whether a number follows a refusal that is only conceded: "While the report is not explicit, she earns $310"."""
    match = CONCEDES.match(text)
    asked = set(re.findall(r"\d+", question.question))
    return match is not None and any(digits not in asked for digits in re.findall(r"\d+", match[1]))


def _denies_as_asked(question: Question, plain: str) -> bool:
    """Whether the question asks what is not so, and the answer says so of a thing: "It is not available in green"."""
    return denies(normalise(question.question)) and SAYS_OF_A_TEXT.search(plain) is None


def _says_no_as_asked(question: Question, text: str) -> bool:
    """Whether "no" is accepted and is how the answer begins: "Not needed, unless you leave the airport"."""
    return question.kind == "value" and begins_with_no(text) and is_yes_no(profile_of(question)) is False


def _choice(choices: Mapping[str, float] | None) -> str:
    if not choices:
        raise Ungradable("The endpoint told no likelihood of any of the choices' letters.")
    choice = likeliest_choice(choices)
    if choice is None:
        raise Ungradable("Two of the choices are equally likely.")
    return choice


def _judged(plain: str, judged: bool | None) -> bool:
    if not plain:
        return False
    if judged is None:
        raise Ungradable("The question has a rubric, and there is no judge.")
    return judged


def _f1(question: Question, plain: str) -> float | None:
    if not question.answers or question.kind not in GRADED_IN_WORDS:
        return None
    given = _without_articles(plain.split())
    return max(_overlap(given, _without_articles(words_of(answer))) for answer in question.answers)


def _without_articles(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in ARTICLES] or list(words)


def _overlap(given: Sequence[str], accepted: Sequence[str]) -> float:
    """The harmonic mean of precision and recall in words."""
    shared = (Counter(given) & Counter(accepted)).total()
    return 2 * shared / (len(given) + len(accepted)) if shared else 0.0


FENCED = re.compile(r"```(?:json)?[^\S\n]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class JsonGrade:
    """`form`: the whole answer is JSON that the schema accepts. `content`: so is its value, or that of its code block,
    and it is an accepted one."""

    form: bool
    content: bool


def grade_json(question: "Question", answer: str) -> JsonGrade:
    """Grade an answer, with the citation marks that follow it as they are: within JSON, [1] is a list."""
    value = parse_json(answer)
    form = question.json_schema is not None and schema_accepts(question.json_schema, value)
    if value is MISSING and (fenced := FENCED.search(answer)):
        value = parse_json(fenced[1])
    return JsonGrade(form=form, content=_is_accepted(question, value))


def _is_accepted(question: "Question", value: Any) -> bool:
    if question.json_schema is None or not schema_accepts(question.json_schema, value):
        return False
    accepted = [parse_json(answer) for answer in question.answers]
    return not accepted or schema_accepts({"enum": accepted}, value)
