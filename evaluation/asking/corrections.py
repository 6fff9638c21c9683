"""How soon each arm follows a document that is corrected while it is served.

{"source": "countries/germany.md", "find": "is German Mark", "replace": "is Euro", "question":
 "What is the currency of Germany?", "old": ["German Mark"], "new": ["Euro"]}

The question is asked once before the correction and then again and again until every arm that retrieves gives the new
value, or the limit is reached. An arm without retrieval is asked once more: its weights do not change by themselves.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cluster.config import Section
from cluster.errors import TandemError
from evaluation.arms import Arm
from evaluation.asking.transport import EndpointClient
from evaluation.asking.turns import chat_body
from evaluation.config import ArmName, EvaluationConfig, Retries
from evaluation.grading.grading import grade
from evaluation.questions.files import read_models
from evaluation.questions.question import Question
from evaluation.replies import Reply
from evaluation.results import CorrectedAnswer

PAUSE_S = 0.2
ACCEPTED = "Accepted are JSON lines with source, find, replace, question, old and new."
Text = Annotated[str, Field(pattern=r"\S")]


class Correction(Section):
    """One correction and the question that shows it."""

    source: Text
    """The document, relative to its source's folder."""

    find: Text
    """What stands there now, once."""

    replace: str
    """What takes its place."""

    question: Text
    """What is asked."""

    old: tuple[Text, ...]
    """Answers that were right before."""

    new: tuple[Text, ...]
    """Answers that are right afterwards."""


def load_corrections(path: Path) -> list[Correction]:
    """Read and check a file of corrections. Raises TandemError with file and line."""
    corrections = read_models(path, Correction, "corrections file", ACCEPTED)
    if not corrections:
        raise TandemError(f"{path} holds no corrections.", ACCEPTED, "Correct the file of `evaluation.corrections`.")
    return corrections


@dataclass
class _CorrectionWatch:
    config: EvaluationConfig
    arms: Sequence[Arm]
    corrections: Sequence[Correction]
    seen: dict[tuple[ArmName, int], CorrectedAnswer] = field(default_factory=dict)

    def record(self, arm: Arm, number: int, reply: Reply, seconds: float) -> None:
        before = self.seen.setdefault((arm.name, number), CorrectedAnswer())
        if reply.text is None:
            return
        correction = self.corrections[number]
        is_new = _gives(correction.question, correction.new, reply, arm)
        is_old = _gives(correction.question, correction.old, reply, arm)
        first = seconds if is_new and before.seconds is None else before.seconds
        self.seen[arm.name, number] = CorrectedAnswer(is_new, is_old, first, failed=False)

    def to_ask(self) -> list[tuple[Arm, int]]:
        """What is asked once more: arms that retrieve and have not followed, and calls that failed."""
        return [
            (arm, number)
            for number in range(len(self.corrections))
            for arm in self.arms
            if (arm.retrieves and not self._answer(arm, number).new) or self._answer(arm, number).failed
        ]

    def answers(self) -> dict[ArmName, list[CorrectedAnswer]]:
        return {arm.name: [self._answer(arm, number) for number in range(len(self.corrections))] for arm in self.arms}

    def _answer(self, arm: Arm, number: int) -> CorrectedAnswer:
        return self.seen.get((arm.name, number), CorrectedAnswer())


def watch_answers(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    corrections: Sequence[Correction],
    correct: Callable[[], None],
    on_progress: Callable[[str], None],
) -> dict[ArmName, list[CorrectedAnswer]]:
    """Ask, have `correct` make the corrections, and ask until the arms have followed.

    Returns the last answers of each arm, in the order of the corrections.

    Args:
        correct: changes the documents and brings the index up to date; the clock runs from its start.
    """
    watching = _CorrectionWatch(config, arms, corrections)
    return asyncio.run(_run(watching, base_url, correct, on_progress))


async def _run(
    watching: _CorrectionWatch, base_url: str, correct: Callable[[], None], on_progress: Callable[[str], None]
) -> dict[ArmName, list[CorrectedAnswer]]:
    config = watching.config
    endpoint = EndpointClient(
        base_url, config.timeout_s, config.concurrency, retries=Retries(max_tries=1), own=True
    )  # the loop below asks again
    try:
        began = time.monotonic()
        correcting = asyncio.create_task(asyncio.to_thread(correct))
        while True:
            is_done = correcting.done()
            if is_done:
                await correcting
            await _ask(watching, endpoint, watching.to_ask(), began)
            left = len(watching.to_ask())
            on_progress(f"{left} of {len(watching.seen)} answers are not the corrected ones yet")
            if is_done and (not left or time.monotonic() - began > config.freshness_limit_s):
                break
            await asyncio.sleep(PAUSE_S)
    finally:
        await endpoint.close()
    return watching.answers()


async def _ask(
    watching: _CorrectionWatch, endpoint: EndpointClient, to_ask: Sequence[tuple[Arm, int]], began: float
) -> None:
    limit = asyncio.Semaphore(watching.config.concurrency)

    async def ask_arm(arm: Arm, number: int) -> None:
        async with limit:
            # Whether a model thinks shows in what it says: each that may gets the limit for it.
            thinks, question = (
                arm.thinks is not False and arm.thinking is not False,
                watching.corrections[number].question,
            )
            body = chat_body(watching.config, arm, question, thinks)
            response = await (endpoint.complete_thinking(body) if thinks else endpoint.complete(body))
        watching.record(arm, number, response.reply, time.monotonic() - began)

    await asyncio.gather(*(ask_arm(arm, number) for arm, number in to_ask))


def _gives(text: str, values: tuple[str, ...], reply: Reply, arm: Arm) -> bool:
    question = Question(id="correction", slice="corrections", question=text, answers=values)
    return grade(question, reply.text or "", reply.citations, arm.retrieves).correct
