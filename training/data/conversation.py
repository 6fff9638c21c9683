"""What a row is once its format is read: a conversation as a chat template takes it, or a text without turns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Message = dict[str, Any]
"""`role`, `content`, and what else the chat template reads of a message, such as `tool_calls`."""


def message_words(message: Message) -> str:
    """What a message says: its text, and with it what it thinks and the names and arguments of its calls."""
    functions = [call["function"] for call in message.get("tool_calls", ())]
    calls = [f"{each['name']} {json.dumps(each['arguments'], ensure_ascii=False)}" for each in functions]
    thought = message.get("reasoning_content")
    return " ".join([*([thought] if thought else []), message["content"], *calls])


@dataclass(frozen=True)
class Conversation:
    """Messages as the chat template takes them, and what it is given beside them.

    `loss_weights` has an item for each message: what a token of it counts in the loss, 0 where it is not learnt.
    Messages that are not the assistant's count nothing whatever stands there. None: every answer counts 1.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    loss_weights: tuple[float, ...] | None = None

    def until(self, end: int) -> "Conversation":
        """The first `end` messages."""
        weights = None if self.loss_weights is None else self.loss_weights[:end]
        return replace(self, messages=self.messages[:end], loss_weights=weights)

    def with_messages(self, messages: tuple[Message, ...]) -> "Conversation":
        """Other messages, with the same tools and settings of the template, of which every answer counts 1."""
        return replace(self, messages=messages, loss_weights=None)

    def loss_weight(self, number: int) -> float:
        """What a token of message `number` counts in the loss."""
        if self.messages[number]["role"] != "assistant":
            return 0.0
        return 1.0 if self.loss_weights is None else self.loss_weights[number]


@dataclass(frozen=True)
class ParsedRow:
    """What a row teaches.

    `rejected`: in a preference pair the messages that end with the answer that lost. `label`: whether the answer is a
    desired one (KTO, arXiv:2402.01306). `text`: a text that is learnt whole, instead of a conversation.
    """

    conversation: Conversation
    rejected: tuple[Message, ...] | None = None
    label: bool | None = None
    text: str | None = None
