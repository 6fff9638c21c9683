"""The measurement after documents changed: ask again what they touch, and keep the other answers of an earlier report.

Kept answers are graded by today's rules, as if they had come now: the report equals the one that asking everything
again would give if the same replies came back. So that a change of the documents is not taken for a change of the
rules, the earlier verdict is concluded once more from its own answers by today's rules, and stands beside that of now.

A judge's word on an answer is kept where the judge, the question and the answer are the same; else the judge is asked.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from cluster.storage.runs import Run
from evaluation.arms import Arm
from evaluation.asking.ask import CollectedReplies
from evaluation.asking.judge_calls import Words
from evaluation.asking.thinking import separate_thinking, without_empty_answer
from evaluation.asking.turns import KINDS, Kind
from evaluation.config import ArmName, EvaluationConfig
from evaluation.measure import (
    MeasurementContext,
    ask_arms,
    check_questions,
    conclude,
    conclude_verdict,
    grade_all,
    make_arm_result,
    write_report,
)
from evaluation.questions.question import Question
from evaluation.replies import Reply
from evaluation.results import JudgeCheck, Recommendation, Report, Row
from evaluation.verdicts.drift import Changes, check_same_questions, make_drift, touched_questions
from evaluation.verdicts.sampling.looks import count_looks, make_look


def measure_again(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    run: Run,
    on_progress: Callable[[str], None],
    setting: MeasurementContext,
    earlier: Report,
    documents: Changes,
    retrieved: Mapping[str, Collection[str]],
    questions: Sequence[Question] | None = None,
) -> Report:
    """Ask again what changed documents touch, grade the other answers of an earlier report anew, and conclude.

    Args:
        documents: those that changed since then.
        retrieved: names of the documents that a search finds now, by question id.
        questions: as for `measure`. How they are graded may have changed since.

    Raises:
        TandemError: other questions are asked than those of the earlier report.
    """
    questions = check_questions(config, setting.trained) if questions is None else questions
    check_same_questions(earlier, questions, config.answer_line)
    told = {row.question.id: row for row in earlier.rows}
    as_today = [told[question.id].model_copy(update={"question": question}) for question in questions]
    ids = touched_questions([*earlier.rows, *as_today], documents, retrieved)
    to_ask = [question for question in questions if question.id in ids]
    on_progress(f"{len(documents.all)} documents changed and touch {len(to_ask)} of {len(questions)} questions")
    collected = ask_arms(config, base_url, arms, to_ask, on_progress, setting)
    graded, judge = grade_all(config, base_url, arms, to_ask, collected, on_progress)
    then, judge = grade_rows_anew(config, base_url, arms, as_today, earlier, on_progress, judge)
    anew = {row.question.id: row for row in graded}
    rows = [anew.get(row.question.id, row) for row in then]
    report = conclude(config, arms, rows, collected, run, setting, judge or earlier.judge)
    kept = [row for row in then if row.question.id not in anew]
    drift = make_drift(
        earlier, documents, [question.id for question in to_ask], kept,
        _verdict_of_then(config, arms, then, setting, run), report.recommendation, config,
    )  # fmt: skip
    report = report.model_copy(update={"drift": drift})
    write_report(report, run, on_progress)
    return report


def grade_rows_anew(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    earlier: Report,
    on_progress: Callable[[str], None],
    judge: JudgeCheck | None = None,
) -> tuple[list[Row], JudgeCheck | None]:
    """The rows of an earlier report by today's rules, and the judge's record where it was asked.

    Args:
        rows: those of `earlier` in today's order, each with its question as it is today.
    """
    replies = _replies_of(rows, arms, earlier)
    as_asked = config.model_copy(update={"answer_line": earlier.config.answer_line})
    words = _words_of(earlier, rows, replies, config)
    questions = [row.question for row in rows]
    return grade_all(as_asked, base_url, arms, questions, replies, on_progress, judge, words)


def _replies_of(rows: Sequence[Row], arms: Sequence[Arm], earlier: Report) -> CollectedReplies:
    """The replies of rows, with thinking apart from the answer: earlier versions graded it as a part of it."""
    collected = CollectedReplies(thinking={arm.name for arm in arms if arm.thinks})
    collected.thinking |= {arm.name for arm in earlier.arms if arm.thinking_tokens is not None}
    for row in rows:
        for kind, by_arm in _by_kind(row):
            separated = {arm: [_separated(reply) for reply in replies] for arm, replies in by_arm.items()}
            collected.replies.setdefault(kind, {})[row.question.id] = separated
            collected.thinking |= {
                arm for arm, replies in separated.items() if any(reply.thinking is not None for reply in replies)
            }
    collected.leave_out_thinking()
    return collected


def _separated(reply: Reply) -> Reply:
    ungraded = reply.model_copy(update={"grade": None, "ungradable": None})
    return separate_thinking(ungraded) if reply.thinking is None else without_empty_answer(ungraded)


def _by_kind(row: Row) -> Iterator[tuple[Kind, Mapping[ArmName, Sequence[Reply]]]]:
    once = {arm: [reply] for arm, reply in row.replies.items()}
    yield from zip(KINDS, (once, row.again, row.paraphrased), strict=True)


def _words_of(earlier: Report, rows: Sequence[Row], replies: CollectedReplies, config: EvaluationConfig) -> Words:
    """What the judge said of answers that are the same today, by question id and answer."""
    told, judge, today = {row.question.id: row for row in earlier.rows}, earlier.config.judge, config.judge
    if judge is None or (today is not None and (today.model, today.url) != (judge.model, judge.url)):
        return {}
    words: Words = {}
    for row in rows:
        before = told[row.question.id]
        if _judged_by(before.question) != _judged_by(row.question):
            continue
        for kind, by_arm in _by_kind(before):
            for arm, its in by_arm.items():
                for reply, now in zip(its, replies.of(kind, row.question.id, arm), strict=True):
                    word = _word(row.question, reply)
                    if word is not None and now.text is not None and (now.text == reply.text or today is None):
                        words[row.question.id, now.text] = word
    return words


def _judged_by(question: Question) -> tuple[object, ...]:
    """What a judge reads of a question."""
    return question.kind, question.question, question.rubric, question.answers


def _word(question: Question, reply: Reply) -> bool | None:
    """The judge's word on a reply; None where the rules alone graded it. Reports of earlier versions say so only of
    rubrics."""
    if reply.grade is None:
        return None
    return reply.grade.content if question.kind == "rubric" else reply.grade.judged


def _verdict_of_then(
    config: EvaluationConfig, arms: Sequence[Arm], rows: Sequence[Row], setting: MeasurementContext, run: Run
) -> Recommendation:
    """What the answers of then say by today's rules and settings."""
    results = [make_arm_result(config, arm, rows, CollectedReplies()) for arm in arms]
    look = make_look([row.question for row in rows], arms, run.started)
    looks = count_looks(look, run.path.parent)
    return conclude_verdict(config, arms, rows, results, setting, looks).recommendation
