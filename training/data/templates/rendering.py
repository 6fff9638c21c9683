"""A conversation as the chat template renders it.

A message reaches the template as the endpoint gives it (vllm.entrypoints.chat_utils, vLLM 0.29): the arguments of calls
are objects, a message without text has an empty one, and what the model thought has every name that templates know.
"""

import json
from typing import Any

from training.data.conversation import Conversation, Message

THINKING = "reasoning_content"
"""The key of a message that holds what the model thought before it answered."""
_OTHER_NAMES = ("reasoning", "thinking")


def render(tokenizer: Any, conversation: Conversation, **options: Any) -> str:
    """The text of a conversation.

    Raises:
        ValueError: the template refuses these messages.
    """
    return str(apply_template(tokenizer, conversation, tokenize=False, **options))


def apply_template(tokenizer: Any, conversation: Conversation, **options: Any) -> Any:
    """What `apply_chat_template` gives for a conversation; raises as `render`."""
    from jinja2.exceptions import TemplateError

    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    messages = [_named_for_templates(message) for message in conversation.messages]
    try:
        return tokenizer.apply_chat_template(messages, **tools, **conversation.template_kwargs, **options)
    except TemplateError as error:
        raise ValueError(f"the chat template refuses it ({error})") from error
    except (TypeError, AttributeError, LookupError) as error:
        # A template computes with what it is given: one may add arguments to a text, and arguments are an object.
        raise ValueError(f"the chat template cannot take it ({type(error).__name__}: {error})") from error


def template_source(tokenizer: Any, conversation: Conversation) -> str:
    """The text of the template that renders a conversation; a tokenizer may have one of its own for tools."""
    return str(tokenizer.get_chat_template(tools=list(conversation.tools) or None))


def settings_key(conversation: Conversation) -> str:
    """A conversation's settings of the template as a key of a cache."""
    return json.dumps(dict(conversation.template_kwargs), sort_keys=True, default=str)


def _named_for_templates(message: Message) -> Message:
    thought = message.get(THINKING)
    return message if thought is None else {**message, **dict.fromkeys(_OTHER_NAMES, thought)}
