"""How the chat template shows the messages of a row: whole, changed, cut, without white space at the ends, or not."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from training.data.answer_masks import render_conversation
from training.data.conversation import Conversation

Shown = Literal["left out", "cut", "changed", "trimmed"]

_END_OF_THINKING = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|</?thought>|</?reasoning>|<\|end_of_thought\|>", re.I)
_COMPARED_ROLES = ("system", "developer", "user", "assistant")
"""Templates may write the results of tools as JSON."""

_DATE = "Qx0dateQ"
_DATE_ARGUMENTS = ("date_string", "current_date", "today", "date")
_CUT_AFTER = 30
"""Characters of a text that are enough to know its begin by."""


@dataclass(frozen=True)
class ChangedMessage:
    """A message that the model does not see as it is written."""

    role: str
    how: Shown


def find_changed_messages(tokenizer: Any, conversation: Conversation) -> list[ChangedMessage]:
    """The messages of a conversation that the model does not see as they are, when it learns the last answer.

    White space at the ends counts in that answer alone, and thinking is not compared: templates drop that of earlier
    turns. A conversation that the template refuses has none.
    """
    try:
        prompt, whole = _render_both(tokenizer, conversation)
    except ValueError:
        return []
    return list(_changed(conversation, prompt, whole))


def _render_both(tokenizer: Any, conversation: Conversation) -> tuple[str, str]:
    before = conversation.with_messages(conversation.messages[:-1])
    prompt = render_conversation(tokenizer, before, add_generation_prompt=True)
    return prompt, render_conversation(tokenizer, conversation)


def _changed(conversation: Conversation, prompt: str, whole: str) -> Iterator[ChangedMessage]:
    last = len(conversation.messages) - 1
    for number, message in enumerate(conversation.messages):
        text = message.get("content")
        if not isinstance(text, str) or message["role"] not in _COMPARED_ROLES:
            continue
        if message["role"] == "assistant" and _END_OF_THINKING.search(text):
            text = _END_OF_THINKING.split(text)[-1].strip()
        how = _compare(text, whole if number == last else prompt)
        if how and (how != "trimmed" or number == last):
            yield ChangedMessage(str(message["role"]), how)


def _compare(text: str, shown: str) -> Shown | None:
    stripped = text.strip()
    if text in shown or not stripped:
        return None
    if stripped in shown:
        return "trimmed"
    plain, plain_shown = _plain(stripped), _plain(shown)
    if plain in plain_shown and plain:
        return "changed"
    return "cut" if len(plain) > _CUT_AFTER and plain[:_CUT_AFTER] in plain_shown else "left out"


def _plain(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return "".join(filter(str.isalnum, text.casefold()))


def shows_date(tokenizer: Any, conversation: Conversation) -> tuple[bool, str | None]:
    """Whether the template writes today's date, and the name of its argument that fixes the date, if it has one."""
    try:
        shown = render_conversation(tokenizer, conversation, strftime_now=lambda _: _DATE)
        if _DATE not in shown:
            return False, None
        for name in set(_DATE_ARGUMENTS).difference(conversation.template_kwargs):
            fixed = render_conversation(tokenizer, conversation, strftime_now=lambda _: _DATE, **{name: "Qx0fixedQ"})
            if _DATE not in fixed and "Qx0fixedQ" in fixed:
                return True, name
    except ValueError:
        return False, None
    return True, None


def template_token_ids(tokenizer: Any) -> set[int]:
    """The tokens of a conversation of two turns with words that no template has; empty where it is refused."""
    turns = [{"role": role, "content": word} for role, word in zip(("user", "assistant") * 2, "abcd", strict=True)]
    try:
        shown = render_conversation(tokenizer, Conversation(tuple(turns[:3])), add_generation_prompt=True)
        shown += render_conversation(tokenizer, Conversation(tuple(turns)))
    except ValueError:
        return set()
    return set(tokenizer(shown, add_special_tokens=False)["input_ids"])


def num_leading_bos(tokenizer: Any, conversation: Conversation) -> int:
    """With how many beginning-of-sequence tokens the template begins a conversation."""
    try:
        shown = render_conversation(tokenizer, conversation)
    except ValueError:
        return 0
    number = 0
    for token in tokenizer(shown, add_special_tokens=False)["input_ids"]:
        if tokenizer.bos_token_id is None or token != tokenizer.bos_token_id:
            break
        number += 1
    return number
