"""The order of a conversation's turns: an optional system message, then user and assistant, ending with an answer."""

from collections.abc import Sequence
from dataclasses import replace

from training.data.conversation import Conversation
from training.data.formats.messages import Turn
from training.data.formats.tool_turns import calls_tools, check_results, join_calls, without_tool_turns
from training.data.formats.values import is_blank

_BETWEEN = "\n\n"


def order_turns(turns: Sequence[Turn], merge: bool) -> list[Turn]:
    """The turns in their order; with `merge` those of one role that follow each other become one, two line feeds apart.

    Raises:
        ValueError: a turn is empty or out of order, the last one is not an answer, or two that are to be merged
            count differently in the loss or have different names.
    """
    turns = join_calls(turns)
    for turn in turns:
        if turn.role not in ("system", "tool") and not calls_tools(turn) and is_blank(str(turn.message["content"])):
            what = "answer" if turn.role == "assistant" else "question"
            raise ValueError(f"{turn.where} is an empty {what}")
    ordered: list[Turn] = []
    for turn in turns:
        if merge and ordered and ordered[-1].role == turn.role != "tool":
            ordered[-1] = _merge(ordered[-1], turn)
        else:
            ordered.append(turn)
    check_results(ordered)
    spoken = without_tool_turns(ordered)
    first = 1 if ordered[0].role == "system" else 0
    for number, turn in enumerate(spoken[first:]):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            follows = first + number > 0 and spoken[first + number - 1].role == turn.role
            remedy = "; `training.consecutive_turns: merge` joins turns of one role" if follows else ""
            raise ValueError(f"{turn.where} has the role {turn.role!r} where {expected!r} must come{remedy}")
    if len(ordered) == first or ordered[-1].role != "assistant":
        raise ValueError("the last message is not the assistant's")
    return ordered


def make_conversation(turns: Sequence[Turn], row_weight: float = 1.0) -> Conversation:
    """A conversation of turns in their order, with what each answer counts in the loss.

    Raises:
        ValueError: no answer is learnt.
    """
    weights = tuple(
        row_weight * (1.0 if turn.weight is None else turn.weight) if turn.role == "assistant" else 0.0
        for turn in turns
    )
    if not any(weights):
        raise ValueError("nothing in it is learnt: every answer has a weight of 0")
    usual = all(weight == 1 for weight, turn in zip(weights, turns, strict=True) if turn.role == "assistant")
    return Conversation(tuple(turn.message for turn in turns), loss_weights=None if usual else weights)


def _merge(first: Turn, second: Turn) -> Turn:
    if first.role == "assistant" and _weight(first) != _weight(second):
        raise ValueError(f"{first.where} and {second.where} cannot be merged: only one of them is learnt")
    if first.message.get("name") != second.message.get("name"):
        raise ValueError(f"{first.where} and {second.where} cannot be merged: their names differ")
    for turn in (first, second):
        if turn.message.keys() - {"role", "content", "name"}:
            raise ValueError(f"{first.where} and {second.where} cannot be merged: {turn.where} calls tools or thinks")
    content = f"{first.message['content']}{_BETWEEN}{second.message['content']}"
    return replace(first, message={**first.message, "content": content})


def _weight(turn: Turn) -> float:
    return 1.0 if turn.weight is None else turn.weight
