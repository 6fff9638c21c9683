"""Every question to every arm, over HTTP, as a user would ask.

Before the clock runs each arm answers one warm-up request (an adapter is loaded, kernels are compiled). A call that
the endpoint could not take is tried again (transport.py); one that fails for good is recorded with its reason: it is
never a right or a wrong answer. What was answered before by the same model, index and prompt is not asked again.

An arm whose model thinks before it answers gets `thinking_tokens` more. Its warm-up shows that it thinks, an answer
that was kept, or the first reply that holds thinking: one that was cut off is then asked for again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.arms import Arm
from evaluation.asking.answer_cache import AnswerCache
from evaluation.asking.responses.completions import Completion
from evaluation.asking.thinking import without_unclosed_thinking
from evaluation.asking.transport import EndpointClient, connection_key
from evaluation.asking.turns import Kind, Turn, answer_key, chat_body, list_turns, turn_body
from evaluation.config import ArmName, EvaluationConfig
from evaluation.engine_time import EngineTime
from evaluation.grading import choices
from evaluation.questions.question import Question
from evaluation.replies import Reply

WARM_UP = "Are you ready?"
SECONDS_BETWEEN_PROGRESS = 3.0
MAX_FINAL_IN_A_ROW = 3
"""Of failures that every further call would share, in an arm that has answered before: one call may be special."""

Replies = dict[str, dict[ArmName, list[Reply]]]


@dataclass
class CollectedReplies:
    """Replies (not yet graded) by question id and arm; `reused` counts those that were answered before, by arm."""

    replies: dict[Kind, Replies] = field(default_factory=dict)
    warm_ups: dict[ArmName, Reply] = field(default_factory=dict)
    thinking: set[ArmName] = field(default_factory=set)
    """Arms whose model thinks before it answers."""

    reused: dict[ArmName, int] = field(default_factory=dict)
    duration_s: float = 0.0

    def of(self, kind: Kind, question: str, arm: ArmName) -> list[Reply]:
        """What an arm said to a question, in the order in which it was asked; nothing where it was not."""
        return self.replies.get(kind, {}).get(question, {}).get(arm, [])

    def all_of(self, question: str) -> Iterator[Reply]:
        """What all arms said, each time they were asked."""
        for by_question in self.replies.values():
            for replies in by_question.get(question, {}).values():
                yield from replies

    def merge(self, later: "CollectedReplies") -> None:
        """Add what was asked later; of each arm the first warm-up stays."""
        for kind, by_question in later.replies.items():
            self.replies.setdefault(kind, {}).update(by_question)
        self.warm_ups = later.warm_ups | self.warm_ups
        self.thinking |= later.thinking
        for arm, number in later.reused.items():
            self.reused[arm] = self.reused.get(arm, 0) + number
        self.duration_s += later.duration_s

    def add(self, turn: Turn, reply: Reply) -> None:
        by_arm = self.replies.setdefault(turn.kind, {}).setdefault(turn.question.id, {})
        by_arm.setdefault(turn.arm.name, []).append(reply)

    def leave_out_thinking(self) -> None:
        """Take no thinking for an answer where an arm's replies were cut off before its end."""
        for by_question in self.replies.values():
            for by_arm in by_question.values():
                for arm in self.thinking & by_arm.keys():
                    by_arm[arm] = [without_unclosed_thinking(reply) for reply in by_arm[arm]]


def ask_all(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    on_progress: Callable[[str], None],
    answers: AnswerCache | None = None,
    versions: Mapping[ArmName, str] | None = None,
) -> CollectedReplies:
    """Ask, and return once every question has a reply from every arm, be it a failure.

    Args:
        base_url: the project's endpoint with /v1; an arm that names another one is asked there.
        on_progress: gets a line of text every few seconds.
        answers: where answers are kept; without it every question is asked.
        versions: what answers for an arm (its weights, its index), in one string; an arm without is always asked.
    """
    asking = _Asking(config, arms, on_progress, answers, versions or {})
    return asyncio.run(asking.run(base_url, list(list_turns(config, arms, questions))))


@dataclass(frozen=True)
class _Kept:
    """A turn and its kept answer; `is_short`: it was given under the limit for models that do not think."""

    turn: Turn
    reply: Reply | None
    is_short: bool


class _Asking:
    def __init__(
        self,
        config: EvaluationConfig,
        arms: Sequence[Arm],
        on_progress: Callable[[str], None],
        answers: AnswerCache | None,
        versions: Mapping[ArmName, str],
    ) -> None:
        self.config, self.arms, self.on_progress = config, arms, on_progress
        self.answers, self.versions = answers, versions
        self.asked = CollectedReplies(
            reused={arm.name: 0 for arm in arms}, thinking={arm.name for arm in arms if arm.thinks}
        )
        self.endpoints: dict[ArmName, EndpointClient] = {}
        self.engines: dict[str, EngineTime] = {}
        # Reasons of the failures in a row, by arm, and by endpoint of those in which it did not respond at all.
        self.failures: dict[ArmName, list[str]] = {arm.name: [] for arm in arms}
        self.unreachable: dict[str, list[str]] = {}
        self.num_final: dict[ArmName, int] = {arm.name: 0 for arm in arms}
        self.answered: set[ArmName] = set()
        self.adjusted: dict[ArmName, dict[str, str | None]] = {}
        self.num_done = self.num_failed = self.num_to_ask = 0
        self.started = self.reported = time.monotonic()

    async def run(self, base_url: str, planned: list[Turn]) -> CollectedReplies:
        try:
            self._connect(base_url)
            kept = [self._kept(turn) for turn in planned]
            self.asked.thinking |= {
                each.turn.arm.name for each in kept if each.reply and each.reply.thinking is not None
            }
            for arm in self.arms:
                is_asked = any(each.turn.arm is arm and not self._suffices(each) for each in kept)
                self.asked.warm_ups[arm.name] = await self._warm_up(arm, is_asked)
            left = [each.turn for each in kept if not self._reuse(each)]
            self.num_to_ask = len(left)
            self.started = self.reported = time.monotonic()
            # By endpoint, so that one that is slow does not leave another without load: its answers would look dear.
            waiting = [iter(turns) for turns in self._by_endpoint(left)]
            await asyncio.gather(*(self._work(turns) for turns in waiting for _ in range(self.config.concurrency)))
            self.asked.duration_s = time.monotonic() - self.started
            self.asked.leave_out_thinking()
        finally:
            await asyncio.gather(*(endpoint.close() for endpoint in set(self.endpoints.values())))
            if self.answers:
                self.answers.commit()
        return self.asked

    def _connect(self, base_url: str) -> None:
        """One connection pool for each address and key."""
        pools: dict[str, EndpointClient] = {}
        config = self.config
        for arm in self.arms:
            other = arm.endpoint
            address = connection_key(other.url, other) if other else ""
            if address not in pools:
                pools[address] = EndpointClient(
                    other.url if other else base_url, config.timeout_s, config.concurrency, other,
                    retries=config.retries, own=other is None,
                )  # fmt: skip
            self.endpoints[arm.name] = pools[address]
            self.unreachable[pools[address].url] = []
            self.engines.setdefault(pools[address].url, EngineTime())

    def _by_endpoint(self, turns: Sequence[Turn]) -> Iterator[list[Turn]]:
        for url in self.engines:
            yield [turn for turn in turns if self.endpoints[turn.arm.name].url == url]

    def _kept(self, turn: Turn) -> _Kept:
        """The kept answer, under whichever limit it was given: where it ended by itself, the limit changed nothing."""
        short = self._known(turn, thinks=False)
        if short is not None and not short.cut_off:
            return _Kept(turn, short, is_short=True)
        long = self._known(turn, thinks=True)
        return _Kept(turn, long or short, is_short=long is None)

    def _known(self, turn: Turn, thinks: bool) -> Reply | None:
        key = self._key(turn, thinks) if self.answers else None
        return self.answers.get(key) if self.answers and key else None

    def _suffices(self, kept: _Kept) -> bool:
        """Whether a question need not be asked again: not where a model that thinks had the limit of one that does not,
        and was cut off at it."""
        reply = kept.reply
        return reply is not None and not (kept.is_short and reply.cut_off and self._thinks(kept.turn.arm))

    def _reuse(self, kept: _Kept) -> bool:
        """Whether the turn was answered before; then that answer stands."""
        if kept.reply is None or not self._suffices(kept):
            return False
        self.asked.add(kept.turn, kept.reply)
        self.asked.reused[kept.turn.arm.name] += 1
        return True

    def _key(self, turn: Turn, thinks: bool) -> str | None:
        return answer_key(turn, turn_body(self.config, turn, thinks), self.versions)

    def _thinks(self, arm: Arm) -> bool:
        return bool(arm.thinking) or arm.name in self.asked.thinking

    async def _warm_up(self, arm: Arm, is_asked: bool) -> Reply:
        """Calls that do not count: one, and one more where the first was cut off and may have been thinking.

        None where every answer is known, or the endpoint is known to be dead.
        """
        if not is_asked:
            return Reply()
        dead = self.unreachable[self.endpoints[arm.name].url]
        if dead:
            return Reply(failed=dead[-1])
        thinks = self._thinks(arm)
        first = (await self._call(arm, chat_body(self.config, arm, WARM_UP, thinks), thinks)).reply
        if first.thinking is None and first.cut_off and arm.thinks is None and not thinks:
            await self._call(arm, chat_body(self.config, arm, WARM_UP, thinks=True), thinks=True)
        return first

    async def _work(self, waiting: Iterable[Turn]) -> None:
        for turn in waiting:
            given_up = self._given_up(turn.arm)
            thinks = self._thinks(turn.arm)
            reply = Reply(failed=given_up) if given_up else await self._reply(turn, thinks)
            if reply.cut_off and not thinks and self._thinks(turn.arm):
                thinks, reply = True, await self._reply(turn, True)
            self.asked.add(turn, reply)
            key = self._key(turn, thinks) if self.answers and not reply.failed else None
            if self.answers and key:
                self.answers.put(key, reply)
            self._count(reply)

    async def _reply(self, turn: Turn, thinks: bool) -> Reply:
        completion = await self._call(turn.arm, turn_body(self.config, turn, thinks), thinks)
        reply = completion.reply
        if turn.question.kind != "choice" or reply.failed:
            return reply
        if thinks:
            return reply.model_copy(update={"choices": choices.read_answered_choice(reply.text or "", turn.question)})
        measured: dict[str, Any] = {"choices": choices.read_choice_probabilities(completion.tops or (), turn.question)}
        if reply.no_answer == "cut_off" and reply.thinking is None:
            measured |= {"text": "", "no_answer": None}  # the first token is a space, and all that was asked for
        return reply.model_copy(update=measured)

    async def _call(self, arm: Arm, sent: dict[str, Any], thinks: bool = False) -> Completion:
        """One call. A failure is counted for its arm, and for the endpoint where that gave no response at all."""
        endpoint = self.endpoints[arm.name]
        with self.engines[endpoint.url].measure() as spent:
            completion = await (endpoint.complete_thinking(sent) if thinks else endpoint.complete(sent))
        if arm.endpoint is None:  # another endpoint's machine is paid by the token
            reply = completion.reply.model_copy(update={"machine_s": spent.seconds})
            completion = replace(completion, reply=reply)
        failed = completion.reply.failed
        self.failures[arm.name] = [*self.failures[arm.name], failed] if failed else []
        self.unreachable[endpoint.url] = [] if completion.responded else [*self.unreachable[endpoint.url], failed or ""]
        self.num_final[arm.name] = self.num_final[arm.name] + 1 if completion.final else 0
        if not failed:
            self.answered.add(arm.name)
        self._say_adjusted(arm, completion.reply.adjusted)
        if completion.reply.thinking is not None:
            self.asked.thinking.add(arm.name)
        return completion

    def _say_adjusted(self, arm: Arm, adjusted: dict[str, str | None]) -> None:
        """A line for each parameter that the arm's endpoint turned out to refuse."""
        known = self.adjusted.setdefault(arm.name, {})
        for name, new in adjusted.items():
            if known.get(name, name) != new:
                known[name] = new
                what = f"is sent as `{new}`" if new else "is left out"
                self.on_progress(f"{arm.title}: the endpoint refuses `{name}`, which {what} from now on")

    def _given_up(self, arm: Arm) -> str | None:
        """Why this call is not worth its time: a dead endpoint would cost every question its full time limit."""
        limit = self.config.give_up_after
        if self.num_final[arm.name] >= (MAX_FINAL_IN_A_ROW if arm.name in self.answered else 1):
            return f"Not asked any more, since no call would be answered. {self.failures[arm.name][-1]}"
        for in_a_row in (self.unreachable[self.endpoints[arm.name].url], self.failures[arm.name]):
            if len(in_a_row) >= limit:
                return f"Not asked any more after {limit} failures in a row, the last: {in_a_row[-1]}"
        return None

    def _count(self, reply: Reply) -> None:
        self.num_done += 1
        self.num_failed += reply.failed is not None
        now = time.monotonic()
        if now - self.reported >= SECONDS_BETWEEN_PROGRESS or self.num_done == self.num_to_ask:
            self.reported = now
            rate = self.num_done / max(now - self.started, 1e-9)
            left_s = (self.num_to_ask - self.num_done) / rate
            self.on_progress(
                f"asked {self.num_done:,} of {self.num_to_ask:,} ({100 * self.num_done / self.num_to_ask:.0f} %), "
                f"{self.num_failed:,} failed, {rate:.1f} answers/s, {left_s:.0f} s left"
            )
