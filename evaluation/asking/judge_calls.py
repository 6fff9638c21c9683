"""The judge's calls over HTTP: calibrated first, then asked about every answer to a question with a rubric.

judged = judge_replies(config, base_url, [(question, reply), ...], on_progress)
judged.check, judged.verdict(question, reply)
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.asking.judge import Ask, JudgementFailed, judge_all, read_verdict
from evaluation.asking.judge_calibration import calibrate_judge
from evaluation.asking.thinking import without_unclosed_thinking
from evaluation.asking.transport import EndpointClient, apply_settings
from evaluation.config import EvaluationConfig, Judge
from evaluation.grading.grading import grade_reply
from evaluation.questions.question import Question
from evaluation.replies import Reply
from evaluation.results import JudgeCheck
from serving.client import AskFailed

VALUE_RUBRIC = (
    "The answer is right if a careful reader takes it to give one of the accepted answers, in any words, order of a "
    "date, or unit that says the same. It is wrong if it gives another value, more than one value, or none, or takes "
    "the value back."
)

Words = dict[tuple[str, str], bool]
"""A judge's words by question id and answer."""


@dataclass(frozen=True)
class JudgedReplies:
    """How far the judge is to be trusted, None without one, and its word on each answer."""

    check: JudgeCheck | None = None
    words: dict[tuple[str, str], bool | str] = field(default_factory=dict)

    def verdict(self, question: Question, reply: Reply) -> bool | str | None:
        """True, False, or why there is no verdict; None where none is needed. An answer that the rules cannot grade
        stays unclear where there is no verdict on it."""
        word = self.words.get((question.id, reply.text or ""))
        if question.kind == "rubric":
            return word
        return word if isinstance(word, bool) else None


def judge_replies(
    config: EvaluationConfig,
    base_url: str,
    replies: Sequence[tuple[Question, Reply]],
    on_progress: Callable[[str], None],
    check: JudgeCheck | None = None,
    known: Words | None = None,
) -> JudgedReplies:
    """Ask the judge about each different answer to a question with a rubric, and about each answer to a question of
    kind `value` or `number` of which the rules cannot say whether it is right; nothing where there is none of these.

    Args:
        base_url: the project's endpoint with /v1; a judge with a `url` is asked there.
        check: how far the judge is to be trusted, where that was measured in this comparison.
        known: what the judge said before; these answers are not asked about.

    Raises:
        TandemError: the calibration rows are not usable.
    """
    known = known or {}
    answers = {
        (question.id, reply.text): asked
        for question, reply in replies
        if reply.text is not None
        and (question.id, reply.text) not in known
        and (asked := _to_judge(question, reply, config)) is not None
    }
    if not answers:
        return JudgedReplies(None, {**known})
    pairs = [(question, text) for (_, text), question in answers.items()]
    check, verdicts = asyncio.run(_judge(config, base_url, pairs, on_progress, check))
    return JudgedReplies(check, {**known, **dict(zip(answers, verdicts, strict=True))})


def _to_judge(question: Question, reply: Reply, config: EvaluationConfig) -> Question | None:
    """The question as the judge is to read it; None where the rules are enough."""
    if question.kind == "rubric":
        return question
    if config.judge is None or question.kind not in ("value", "number") or not question.answerable:
        return None
    graded = grade_reply(question, reply, retrieves=False, has_line=config.answer_line).grade
    return question.model_copy(update={"rubric": VALUE_RUBRIC}) if graded is not None and graded.unclear else None


async def _judge(
    config: EvaluationConfig,
    base_url: str,
    asked: Sequence[tuple[Question, str]],
    on_progress: Callable[[str], None],
    check: JudgeCheck | None,
) -> tuple[JudgeCheck | None, list[bool | str]]:
    if config.judge is None:
        return None, await judge_all(asked, None, _nobody)
    judge = config.judge
    endpoint = EndpointClient(
        judge.url or base_url,
        config.timeout_s,
        config.concurrency,
        judge,
        retries=config.retries,
        own=judge.url is None,
    )
    try:
        ask = _caller(config, config.judge, endpoint)
        if check is None:
            on_progress(f"asking the judge {config.judge.model} about the answers that people graded")
            check = await calibrate_judge(config.judge, ask)
        on_progress(f"asking the judge {config.judge.model} about {len(asked):,} answers")
        return check, await judge_all(asked, check, ask)
    finally:
        await endpoint.close()


def _caller(config: EvaluationConfig, judge: Judge, endpoint: EndpointClient) -> Ask:
    limit = asyncio.Semaphore(config.concurrency)
    ended: list[str] = []  # why no further call would be answered
    thinks: bool | None = None  # not known

    async def ask(messages: list[dict[str, Any]], max_tokens: int) -> str:
        """The judge's answer; a judge that thinks gets the tokens for it, from the first verdict that did not come."""
        nonlocal thinks
        short = {"model": judge.model, "messages": messages, "temperature": 0.0, "max_tokens": max_tokens}
        body = apply_settings(short, judge)
        longer = apply_settings(short | {"max_tokens": max_tokens + config.thinking_tokens}, judge)
        async with limit:
            if ended:
                raise _no_word(ended[0])
            is_short = not thinks  # another call may find out meanwhile
            completion = await (endpoint.complete(body) if is_short else endpoint.complete_thinking(longer))
            if is_short and thinks is not False and completion.reply.cut_off and not _is_verdict(completion.reply):
                completion = await endpoint.complete_thinking(longer)
                thinks = bool(thinks) or completion.reply.thinking is not None
        if completion.final and completion.reply.failed:
            ended.append(completion.reply.failed)
        reply = without_unclosed_thinking(completion.reply) if thinks else completion.reply
        if reply.text is None:
            raise _no_word(reply.missing or "")
        return reply.text

    return ask


def _no_word(reason: str) -> AskFailed:
    return AskFailed(reason, "An answer of the judge.", "Look at the judge's endpoint.")


def _is_verdict(reply: Reply) -> bool:
    try:
        read_verdict(reply.text or "")
    except JudgementFailed:
        return False
    return True


async def _nobody(messages: list[dict[str, Any]], max_tokens: int) -> str:
    raise AssertionError("no judge is configured")
