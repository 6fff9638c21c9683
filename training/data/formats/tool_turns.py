"""Calls and results among the turns of a row: which call a result answers, and what is left for question and answer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from training.data.formats.messages import Turn

_WRITTEN_CALL = "tool_call"
"""What a call has in it that a row writes as text (Hermes)."""


def calls_tools(turn: Turn) -> bool:
    """Whether a turn has calls."""
    return bool(turn.message.get("tool_calls"))


def join_calls(turns: Sequence[Turn]) -> list[Turn]:
    """The turns in which messages that are only a call become one turn with those in front of them: several calls at
    once, or a text and its calls (ms-swift, LLaMA-Factory).

    Raises:
        ValueError: such messages count differently in the loss.
    """
    joined: list[Turn] = []
    for turn in turns:
        if turn.is_call and joined and joined[-1].role == "assistant":
            joined[-1] = join_two(joined[-1], turn)
        else:
            joined.append(turn)
    return joined


def join_two(first: Turn, second: Turn) -> Turn:
    """Two turns of the assistant as one, with the calls of both; the text of the second must be empty.

    Raises:
        ValueError: only one of them is learnt, or the second thinks.
    """
    if (1.0 if first.weight is None else first.weight) != (1.0 if second.weight is None else second.weight):
        raise ValueError(f"{first.where} and {second.where} are one turn, and only one of them is learnt")
    if second.message["content"] or set(second.message) - {"role", "content", "tool_calls"}:
        raise ValueError(f"{first.where} and {second.where} cannot be one turn: thinking and text come before calls")
    calls = [*first.message.get("tool_calls", ()), *second.message["tool_calls"]]
    return replace(first, message={**first.message, "tool_calls": calls})


def check_results(turns: Sequence[Turn]) -> None:
    """Check that every result answers a call, and that every call whose result is not to come has one.

    Raises:
        ValueError: one does not.
    """
    for number, turn in enumerate(turns):
        before = turns[number - 1] if number else None
        if turn.role == "tool" and (before is None or before.role != "tool"):
            _check_group(before, list(_results_from(turns, number)))
        if before is not None and calls_tools(before) and turn.role != "tool":
            raise ValueError(f"{before.where} calls tools, and {turn.where} is no result of them")
        if before is not None and before.role == "tool" and turn.role not in ("tool", "assistant"):
            raise ValueError(
                f"{turn.where} has the role {turn.role!r} behind the result of a tool, where the assistant must go on"
            )


def without_tool_turns(turns: Sequence[Turn]) -> list[Turn]:
    """The turns less calls and their results, as far as the assistant goes on after them."""
    return [
        turn
        for number, turn in enumerate(turns)
        if turn.role != "tool" and not (number + 1 < len(turns) and turns[number + 1].role == "tool")
    ]


def _results_from(turns: Sequence[Turn], start: int) -> Iterator[Turn]:
    for turn in turns[start:]:
        if turn.role != "tool":
            return
        yield turn


def _check_group(caller: Turn | None, results: Sequence[Turn]) -> None:
    first = results[0]
    if caller is None or caller.role != "assistant":
        raise ValueError(f"{first.where} is the result of a tool, and nothing before it calls one")
    if not calls_tools(caller):
        if _WRITTEN_CALL not in caller.message["content"]:
            raise ValueError(f"{first.where} is the result of a tool, and {caller.where} calls none")
        return
    called = [call["id"] for call in caller.message["tool_calls"] if "id" in call]
    answered = [turn.message["tool_call_id"] for turn in results if "tool_call_id" in turn.message]
    for turn in results:
        identity = turn.message.get("tool_call_id")
        if identity is not None and identity not in called:
            raise ValueError(f"{turn.where} is the result of the call {identity!r}, which {caller.where} does not make")
        if identity is not None and answered.count(identity) > 1:
            raise ValueError(f"{turn.where} is another result of the call {identity!r}")
    all_have_ids = len(called) == len(caller.message["tool_calls"]) and len(answered) == len(results)
    if all_have_ids and (missing := [each for each in called if each not in answered]):
        raise ValueError(f"the call {missing[0]!r} of {caller.where} has no result")
