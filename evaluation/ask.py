"""Every question to every arm, over HTTP, as a user would ask.

Arms take turns question by question and the questions are shuffled, so that a machine that slows down slows all arms
and all slices alike. Before the clock runs each arm answers one warm-up request (an adapter is loaded, kernels are
compiled). A call that fails is recorded with its reason and is not repeated: it is never a right or a wrong answer.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evaluation.arms import Arm
from evaluation.config import ArmName, EvaluationConfig
from evaluation.questions import Question
from evaluation.results import CitedSource, Reply
from serving.client import Answer, AskFailed, ask_async, connect_async

if TYPE_CHECKING:
    from openai import AsyncOpenAI

WARM_UP = "Are you ready?"
SECONDS_BETWEEN_PROGRESS = 3.0


@dataclass
class Asked:
    """Replies (not yet graded) by question id and arm; warm-ups by arm."""

    replies: dict[str, dict[ArmName, Reply]] = field(default_factory=dict)
    warm_ups: dict[ArmName, Reply] = field(default_factory=dict)


def ask_all(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    on_progress: Callable[[str], None],
) -> Asked:
    """Ask, and return once every question has a reply from every arm, be it a failure.

    Args:
        base_url: the endpoint's URL with /v1.
        on_progress: gets a line of text every few seconds.
    """
    return asyncio.run(_Asking(config, arms, questions, on_progress).run(base_url))


class _Asking:
    def __init__(
        self,
        config: EvaluationConfig,
        arms: Sequence[Arm],
        questions: Sequence[Question],
        on_progress: Callable[[str], None],
    ) -> None:
        self.config, self.arms, self.questions, self.on_progress = config, arms, questions, on_progress
        self.asked = Asked({question.id: {} for question in questions})
        # Reasons of the failures in a row, by arm, and of those in which the endpoint did not respond at all.
        self.failures: dict[ArmName, list[str]] = {arm.name: [] for arm in arms}
        self.unreachable: list[str] = []
        self.num_done = self.num_failed = 0
        self.started = self.reported = time.monotonic()

    async def run(self, base_url: str) -> Asked:
        # The total limit is _reply's; the client's own is per read and only has to be longer.
        client = connect_async(base_url, timeout_s=2 * self.config.timeout_s)
        try:
            for arm in self.arms:
                dead = self.unreachable[-1] if self.unreachable else None
                self.asked.warm_ups[arm.name] = Reply(failed=dead) if dead else await self._reply(client, arm, WARM_UP)
            self.started = self.reported = time.monotonic()
            turns = self._turns()
            await asyncio.gather(*(self._work(client, turns) for _ in range(self.config.concurrency)))
        finally:
            await client.close()
        return self.asked

    def _turns(self) -> Iterator[tuple[Arm, Question]]:
        """Each question for each arm; the first arm of a question changes from question to question."""
        shuffled = list(self.questions)
        random.Random(self.config.seed).shuffle(shuffled)
        for number, question in enumerate(shuffled):
            for turn in range(len(self.arms)):
                yield self.arms[(number + turn) % len(self.arms)], question

    async def _work(self, client: "AsyncOpenAI", turns: Iterator[tuple[Arm, Question]]) -> None:
        for arm, question in turns:
            given_up = self._given_up(arm)
            reply = Reply(failed=given_up) if given_up else await self._reply(client, arm, question.question)
            self.asked.replies[question.id][arm.name] = reply
            self._count(reply)

    async def _reply(self, client: "AsyncOpenAI", arm: Arm, question: str) -> Reply:
        """One call. A failure is counted for its arm, and for the endpoint where that gave no response at all."""
        responded = True
        try:
            async with asyncio.timeout(self.config.timeout_s):
                answer = await ask_async(
                    client, arm.model, question, temperature=self.config.temperature, max_tokens=self.config.max_tokens
                )
            reply = _as_reply(answer)
        except TimeoutError:
            responded, reply = False, Reply(failed=f"There was no answer within {self.config.timeout_s:g} s.")
        except AskFailed as error:
            responded, reply = error.status is not None, Reply(failed=error.seen)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The openai client does not validate: a body that is no chat completion shows when it is read.
            reply = Reply(failed=f"The endpoint's answer is no chat completion ({type(error).__name__}: {error}).")
        self.failures[arm.name] = [*self.failures[arm.name], reply.failed] if reply.failed else []
        self.unreachable = [] if responded else [*self.unreachable, reply.failed or ""]
        return reply

    def _given_up(self, arm: Arm) -> str | None:
        """Why this call is not worth its time: a dead endpoint would cost every question its full time limit."""
        limit = self.config.give_up_after
        for in_a_row in (self.unreachable, self.failures[arm.name]):
            if len(in_a_row) >= limit:
                return f"Not asked any more after {limit} failures in a row, the last: {in_a_row[-1]}"
        return None

    def _count(self, reply: Reply) -> None:
        self.num_done += 1
        self.num_failed += reply.failed is not None
        now, total = time.monotonic(), len(self.questions) * len(self.arms)
        if now - self.reported >= SECONDS_BETWEEN_PROGRESS or self.num_done == total:
            self.reported = now
            rate = self.num_done / max(now - self.started, 1e-9)
            self.on_progress(
                f"asked {self.num_done:,} of {total:,} ({self.num_done / total:.0%}), {self.num_failed:,} failed, "
                f"{rate:.1f} answers/s"
            )


def _as_reply(answer: Answer) -> Reply:
    citations = [
        CitedSource(index=found.index, source=found.source, title=found.title, cited=found.cited, also_in=found.also_in)
        for found in answer.citations
    ]
    return Reply(text=answer.text, model=answer.model, latency_s=answer.latency_s, citations=citations)
