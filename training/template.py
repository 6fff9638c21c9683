"""Messages -> token ids through the model's chat template, and which of them are the answers'.

Only answers are trained on, each with the token that ends its turn, so that the model learns to stop. A template that
marks answers with {% generation %} says itself which tokens those are. For any other template an answer is what the
template adds to its own generation prompt; that holds only where the one is a token prefix of the other: it is checked.
"""

import re
from dataclasses import dataclass
from typing import Any

from training.data import BadRow, DataReport, Message, bad_rows_error

_GENERATION_MARK = re.compile(r"{%-?\s*generation\s*-?%}")


@dataclass(frozen=True)
class Example:
    """One row as tokens; `is_answer[i]` says whether token i is learnt."""

    token_ids: list[int]
    is_answer: list[bool]


def encode_rows(report: DataReport, tokenizer: Any, max_tokens: int) -> list[Example]:
    """Encode every row of a file.

    Args:
        max_tokens: longest row that is accepted, in tokens.

    Raises:
        TandemError: rows that are too long or whose answers cannot be told apart, listed as file:line.
    """
    examples: list[Example] = []
    bad: list[BadRow] = []
    for row in report.rows:
        try:
            example = encode(tokenizer, row.messages)
            if len(example.token_ids) > max_tokens:
                raise ValueError(f"{len(example.token_ids)} tokens long, and at most {max_tokens} are accepted")
            examples.append(example)
        except ValueError as error:
            bad.append(BadRow(row.line, str(error)))
    if bad:
        raise bad_rows_error(report.path, bad, report.num_rows)
    return examples


def encode(tokenizer: Any, messages: tuple[Message, ...] | list[Message]) -> Example:
    """Encode one row.

    Raises:
        ValueError: the template refuses these messages, or does not let the answers be told apart.
    """
    if _GENERATION_MARK.search(tokenizer.get_chat_template()):
        return _by_marks(tokenizer, list(messages))
    return _by_prefixes(tokenizer, list(messages))


def _by_marks(tokenizer: Any, messages: list[Message]) -> Example:
    rendered = _render(tokenizer, messages, return_assistant_tokens_mask=True)
    token_ids, is_answer = rendered["input_ids"], [bool(mark) for mark in rendered["assistant_masks"]]
    ends = [i + 1 for i, mark in enumerate(is_answer) if mark and is_answer[i + 1 : i + 2] != [True]]
    num_answers = sum(message["role"] == "assistant" for message in messages)
    if len(ends) != num_answers:
        raise ValueError(f"the chat template marks {len(ends)} of its {num_answers} answers")
    # Marks that leave out the turn's end: it is the special token that follows the last answer.
    after_last = token_ids[ends[-1] : ends[-1] + 1]
    if after_last and after_last[0] in _special_ids(tokenizer):
        for end in ends:
            if token_ids[end : end + 1] == after_last:
                is_answer[end] = True
    return Example(token_ids, is_answer)


def _by_prefixes(tokenizer: Any, messages: list[Message]) -> Example:
    token_ids = _render(tokenizer, messages)["input_ids"]
    is_answer = [False] * len(token_ids)
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _render(tokenizer, messages[:number], add_generation_prompt=True)["input_ids"]
        until = _render(tokenizer, messages[: number + 1])["input_ids"]
        if until[: len(prompt)] != prompt or token_ids[: len(until)] != until:
            raise ValueError(
                f"the chat template renders message {number + 1} differently where more follows, so its tokens cannot "
                "be told apart; mark answers with {% generation %} in the template"
            )
        end = _end_of_turn(until, len(prompt), _special_ids(tokenizer))
        is_answer[len(prompt) : end] = [True] * (end - len(prompt))
    return Example(token_ids, is_answer)


def _end_of_turn(token_ids: list[int], start: int, special_ids: set[int]) -> int:
    """Behind the last special token from `start` on; what follows it (a line feed) is the template's own."""
    specials = [i for i in range(start, len(token_ids)) if token_ids[i] in special_ids]
    return specials[-1] + 1 if specials else len(token_ids)


def _special_ids(tokenizer: Any) -> set[int]:
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _render(tokenizer: Any, messages: list[Message], **options: Any) -> Any:
    from jinja2.exceptions import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
    except TemplateError as error:
        raise ValueError(f"the chat template refuses it ({error})") from error
