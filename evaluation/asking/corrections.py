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
from evaluation.asking.transport import Endpoint
from evaluation.asking.turns import body
from evaluation.config import ArmName, EvaluationConfig
from evaluation.grading.grading import grade
from evaluation.questions.files import read_models
from evaluation.questions.question import Question
from evaluation.results import Freshness, Reply
from evaluation.verdicts.statistics import share

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
    found = read_models(path, Correction, "corrections file", ACCEPTED)
    if not found:
        raise TandemError(f"{path} holds no corrections.", ACCEPTED, "Correct the file of `evaluation.corrections`.")
    return found


@dataclass
class _Watched:
    """What one arm says to the question of one correction."""

    new: bool = False
    old: bool = False
    seconds: float | None = None
    failed: bool = True


@dataclass
class _Watching:
    config: EvaluationConfig
    arms: Sequence[Arm]
    corrections: Sequence[Correction]
    seen: dict[tuple[ArmName, int], _Watched] = field(default_factory=dict)

    def take(self, arm: Arm, number: int, reply: Reply, seconds: float) -> None:
        watched = self.seen.setdefault((arm.name, number), _Watched())
        if reply.text is None:
            return
        wanted = self.corrections[number]
        new = _says(wanted.question, wanted.new, reply, arm)
        first = seconds if new and watched.seconds is None else watched.seconds
        self.seen[arm.name, number] = _Watched(new, _says(wanted.question, wanted.old, reply, arm), first, failed=False)

    def waiting(self) -> list[tuple[Arm, int]]:
        """What is asked once more: arms that retrieve and have not followed."""
        return [
            (arm, number)
            for number in range(len(self.corrections))
            for arm in self.arms
            if (arm.retrieves and not self._found(arm, number).new) or self._found(arm, number).failed
        ]

    def _found(self, arm: Arm, number: int) -> _Watched:
        return self.seen.get((arm.name, number), _Watched())

    def results(self) -> list[Freshness]:
        return [self._result(arm) for arm in self.arms]

    def _result(self, arm: Arm) -> Freshness:
        found = [self._found(arm, number) for number in range(len(self.corrections))]
        answered = [watched for watched in found if not watched.failed]
        times = [watched.seconds for watched in answered if watched.seconds is not None]
        return Freshness(
            arm=arm.name,
            num_questions=len(found),
            stale=share([watched.old for watched in answered]),
            new=share([watched.new for watched in answered]),
            seconds=min(times) if times else None,
            all_seconds=max(times) if len(times) == len(found) else None,
        )


def watch(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    corrections: Sequence[Correction],
    correct: Callable[[], None],
    on_progress: Callable[[str], None],
) -> list[Freshness]:
    """Ask, have `correct` make the corrections, and ask until the arms have followed.

    Args:
        correct: changes the documents and brings the index up to date; the clock runs from its start.
    """
    watching = _Watching(config, arms, corrections)
    return asyncio.run(_run(watching, base_url, correct, on_progress))


async def _run(
    watching: _Watching, base_url: str, correct: Callable[[], None], on_progress: Callable[[str], None]
) -> list[Freshness]:
    config = watching.config
    endpoint = Endpoint(base_url, config.timeout_s, config.concurrency)
    try:
        began = time.monotonic()
        correcting = asyncio.create_task(asyncio.to_thread(correct))
        while True:
            is_done = correcting.done()
            if is_done:
                await correcting
            waiting = watching.waiting()
            await _ask(watching, endpoint, waiting, began)
            left = len(watching.waiting())
            on_progress(f"{left} of {len(watching.seen)} answers are not the corrected ones yet")
            if is_done and (not left or time.monotonic() - began > config.freshness_limit_s):
                break
            await asyncio.sleep(PAUSE_S)
    finally:
        await endpoint.close()
    return watching.results()


async def _ask(watching: _Watching, endpoint: Endpoint, waiting: Sequence[tuple[Arm, int]], began: float) -> None:
    limit = asyncio.Semaphore(watching.config.concurrency)

    async def one(arm: Arm, number: int) -> None:
        async with limit:
            said = await endpoint.complete(body(watching.config, arm, watching.corrections[number].question))
        watching.take(arm, number, said.reply, time.monotonic() - began)

    await asyncio.gather(*(one(arm, number) for arm, number in waiting))


def _says(asked: str, values: tuple[str, ...], reply: Reply, arm: Arm) -> bool:
    question = Question(id="correction", slice="corrections", question=asked, answers=values)
    return grade(question, reply.text or "", reply.citations, arm.retrieves).correct
