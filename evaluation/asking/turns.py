"""What is asked of whom, in which order, and under which key the answer is kept.

Arms take turns question by question and the questions are shuffled, so that a machine that slows down slows all arms
and all slices alike.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cluster.fingerprints.digests import digest_json
from evaluation.arms import Arm
from evaluation.asking.transport import apply_settings
from evaluation.config import FORMER_NAMES, ArmName, EvaluationConfig
from evaluation.grading import choices
from evaluation.grading.answer_line import is_lined, with_answer_line
from evaluation.questions.question import Question

Kind = Literal["first", "again", "paraphrased"]
THINKING_ARGUMENTS = ("enable_thinking", "thinking")
"""What chat templates call the argument that turns thinking on and off; vLLM leaves out what one does not read."""

KINDS: tuple[Kind, ...] = ("first", "again", "paraphrased")
# A renamed arm keeps its former name in the keys, so that the answers kept before it was renamed are found.
_NAMES_IN_KEYS = {today: former for former, today in FORMER_NAMES.items()}


@dataclass(frozen=True)
class Turn:
    """One call: a question as it stands (`first`), once more (`again`) or in other words (`paraphrased`).

    `attempt` tells repetitions apart.
    """

    arm: Arm
    question: Question
    wording: str
    kind: Kind = "first"
    attempt: int = 0


def list_turns(config: EvaluationConfig, arms: Sequence[Arm], questions: Sequence[Question]) -> Iterator[Turn]:
    """Every question for every arm, then once more and in other words; the first arm changes with each question."""
    shuffled = list(questions)
    random.Random(config.seed).shuffle(shuffled)
    for number, question in enumerate(shuffled):
        ordered = [arms[(number + turn) % len(arms)] for turn in range(len(arms))]
        for wording, kind, attempt in _wordings(config, question):
            yield from (Turn(arm, question, wording, kind, attempt) for arm in ordered)


def _wordings(config: EvaluationConfig, question: Question) -> Iterator[tuple[str, Kind, int]]:
    yield question.question, "first", 0
    for attempt in range(1, config.repeats + 1):
        yield question.question, "again", attempt
    for wording in question.paraphrases:
        yield wording, "paraphrased", 0


def turn_body(config: EvaluationConfig, turn: Turn, thinks: bool = False) -> dict[str, Any]:
    """The body of a question's call.

    Args:
        thinks: whether the arm's model thinks before it answers. What is likeliest first is then no letter of a choice:
            the letter is read from the answer.
    """
    if turn.question.kind != "choice":
        if not config.answer_line or not is_lined(turn.question):
            return chat_body(config, turn.arm, turn.wording, thinks)
        body = chat_body(config, turn.arm, with_answer_line(turn.wording), thinks)
        # The sentence is not searched for.
        return body | ({"retrieval": {**body["retrieval"], "query": turn.wording}} if turn.arm.retrieves else {})
    lettered = choices.lettered_wording(turn.question, turn.wording)
    return chat_body(config, turn.arm, lettered, thinks, None if thinks else choices.CHOICE_PARAMETERS)


def chat_body(
    config: EvaluationConfig, arm: Arm, wording: str, thinks: bool = False, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a call: the same decoding for every arm, and the same limits for every arm whose model thinks before
    it answers, and for every other; but for what the settings of its endpoint change.

    Args:
        parameters: of this call alone, in place of the usual ones.
    """
    shots = [
        message
        for shot in arm.shots
        for message in ({"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.answer})
    ]
    body = {
        "model": arm.model,
        "messages": [*shots, {"role": "user", "content": wording}],
        "temperature": config.temperature,
        "max_tokens": config.max_tokens + (config.thinking_tokens if thinks else 0),
        # Only Tandem's own endpoint knows this word; others refuse it.
        **({"retrieval": {"return_passages": True}} if arm.retrieves else {}),
        **({} if arm.thinking is None else {"chat_template_kwargs": dict.fromkeys(THINKING_ARGUMENTS, arm.thinking)}),
        **(parameters or {}),
    }
    return apply_settings(body, arm.endpoint) if arm.endpoint else body


def answer_key(turn: Turn, sent: Mapping[str, Any], versions: Mapping[ArmName, str]) -> str | None:
    """The key of an answer; None where it is not known what will answer, so that nothing is kept."""
    name = turn.arm.name
    if (version := versions.get(name)) is None:
        return None
    return digest_json([_NAMES_IN_KEYS.get(name, name), version, dict(sent), turn.attempt])
