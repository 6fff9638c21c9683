"""What a chat template shows of tools, calls, results and thinking.

A template that does not know them leaves them out without a word, and the model would learn to call tools that it was
never given. So each kind of turn is rendered once with known words in every place, and the words are looked for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from training.data.conversation import Conversation, Message
from training.data.templates.rendering import THINKING, render, settings_key, template_source

CLOSING_TAG = "</think>"
_THOUGHT = re.compile(r"\s*<think>\n*(.*?)\n*</think>\n*", re.DOTALL)
_NEEDS = "name a model whose template has tools, or put such a chat_template.jinja beside its tokenizer"

_SETTING_NEEDS = "correct its name, name a model whose template reads it, or leave it out"


@dataclass(frozen=True)
class TurnShape:
    """What a message has, without its words. `calls` has an item for each call: whether it has arguments."""

    role: str
    has_content: bool
    calls: tuple[bool, ...]
    has_ids: bool
    has_name: bool
    thinks: bool


def place_thinking(tokenizer: Any, conversation: Conversation) -> Conversation:
    """The conversation with thinking where the template shows it.

    A template that reads a field for it and no tags (gpt-oss) gets thinking that stands in tags as that field: it
    would show the tags as a part of the answer.

    A template that reads no field for it and knows the tags gets it in tags, in front of the content. Those of earlier
    messages stay where they are: the template shows or drops them as it will for the endpoint.

    Raises:
        ValueError: the template does not show thinking at all.
    """
    conversation = _take_from_tags(tokenizer, conversation)
    last = conversation.messages[-1]
    if last.get(THINKING) is None or _shows_thinking(tokenizer, conversation):
        return conversation
    number = len(conversation.messages)
    if CLOSING_TAG not in template_source(tokenizer, conversation):
        raise ValueError(
            f"the chat template does not show what message {number} thinks; write it in front of the content as "
            "<think>...</think>, or name a model that thinks"
        )
    return conversation.with_messages((*conversation.messages[:-1], _with_tags(last)))


def _take_from_tags(tokenizer: Any, conversation: Conversation) -> Conversation:
    """The conversation with thinking in fields, where answers begin with it in tags and the template reads no tags."""
    messages = tuple(_with_field(message) for message in conversation.messages)
    if messages == conversation.messages:
        return conversation
    taken = conversation.with_messages(messages)
    shapes = tuple(_shape_of(message) for message in messages)
    return conversation if _reads_tags(
        tokenizer, template_source(tokenizer, conversation), shapes, bool(conversation.tools),
        settings_key(conversation), _Settings(conversation.template_kwargs),
    ) else taken  # fmt: skip


def _with_field(message: Message) -> Message:
    thought = _THOUGHT.match(message["content"]) if message["role"] == "assistant" else None
    if thought is None or THINKING in message:
        return message
    return {**message, THINKING: thought[1], "content": message["content"][thought.end() :]}


def check_all_is_shown(tokenizer: Any, conversation: Conversation) -> None:
    """Check that the template shows tools, calls and results where a conversation has them, and reads its settings.

    Raises:
        ValueError: it leaves one out, or writes arguments in another way than JSON or its own.
    """
    source = template_source(tokenizer, conversation) if conversation.template_kwargs else ""
    for name in conversation.template_kwargs:
        if not re.search(rf"\b{re.escape(name)}\b", source):
            raise ValueError(f"the chat template does not read `{name}` of `chat_template_kwargs`: {_SETTING_NEEDS}")
    messages = conversation.messages
    if not conversation.tools and not any("tool_calls" in each or each["role"] == "tool" for each in messages):
        return
    shapes = tuple(_shape_of(message) for message in messages)
    problem = _find_problem(
        tokenizer, template_source(tokenizer, conversation), shapes, bool(conversation.tools),
        settings_key(conversation), _Settings(conversation.template_kwargs),
    )  # fmt: skip
    if problem:
        raise ValueError(problem)


class _Settings(dict[str, Any]):
    """Settings of the template beside the key that they are cached by: all are equal."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Settings)


def _shape_of(message: Message) -> TurnShape:
    calls = message.get("tool_calls") or ()
    return TurnShape(
        message["role"],
        bool(message["content"].strip()),
        tuple(bool(call["function"]["arguments"]) for call in calls),
        any("id" in call for call in calls) or "tool_call_id" in message,
        "name" in message,
        message.get(THINKING) is not None,
    )


def _shows_thinking(tokenizer: Any, conversation: Conversation) -> bool:
    shapes = tuple(_shape_of(message) for message in conversation.messages)
    return _thinking_is_shown(
        tokenizer, template_source(tokenizer, conversation), shapes, bool(conversation.tools),
        settings_key(conversation), _Settings(conversation.template_kwargs),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _thinking_is_shown(
    tokenizer: Any, source: str, shapes: tuple[TurnShape, ...], has_tools: bool, key: str, settings: _Settings
) -> bool:
    known = _known_conversation(shapes, has_tools, settings)
    thought = known.messages[-1][THINKING]
    return thought in render(tokenizer, known)


@lru_cache(maxsize=1024)
def _reads_tags(
    tokenizer: Any, source: str, shapes: tuple[TurnShape, ...], has_tools: bool, key: str, settings: _Settings
) -> bool:
    """Whether the template needs no field for the thinking of a conversation of these shapes: it shows none, or shows
    thinking in tags in the same way."""
    known = _known_conversation(shapes, has_tools, settings)
    tagged = known.with_messages(tuple(map(_with_tags, known.messages)))
    untold = known.with_messages(tuple({**each, THINKING: ""} if THINKING in each else each for each in known.messages))
    shown = render(tokenizer, known)
    return shown == render(tokenizer, untold) or shown == render(tokenizer, tagged)


def _with_tags(message: Message) -> Message:
    """A message with its thinking in front of its content."""
    if THINKING not in message:
        return message
    rest = {key: value for key, value in message.items() if key != THINKING}
    return {**rest, "content": f"<think>\n{message[THINKING]}\n{CLOSING_TAG}\n\n{message['content']}"}


@lru_cache(maxsize=1024)
def _find_problem(
    tokenizer: Any, source: str, shapes: tuple[TurnShape, ...], has_tools: bool, key: str, settings: _Settings
) -> str | None:
    """What the template leaves out of a conversation of these shapes, or None.

    Args:
        source: the template, which a tokenizer may be given anew.
        key: the settings of the template once more, as what they are cached by.
    """
    known = _known_conversation(shapes, has_tools, settings)
    asked = known.with_messages(known.messages[:-1])
    prompt, whole = render(tokenizer, asked, add_generation_prompt=True), render(tokenizer, known)
    for tool in known.tools:
        if any(word not in prompt for word in _words_of_tool(tool)):
            return f"the chat template does not show the tools: {_NEEDS}"
    for number, (message, shape) in enumerate(zip(known.messages, shapes, strict=True), start=1):
        shown = whole if number == len(shapes) else prompt
        problem = next(_problems_of_turn(message, shape, shown), None)
        if problem:
            return f"the chat template {problem} of message {number}: {_NEEDS}"
    return None


def _problems_of_turn(message: Message, shape: TurnShape, shown: str) -> Iterator[str]:
    if shape.role == "tool" and shape.has_content and message["content"] not in shown:
        yield "does not show the result"
    for call in message.get("tool_calls", ()):
        function = call["function"]
        if function["name"] not in shown or any(key not in shown for key in function["arguments"]):
            yield "does not show the calls"
        for key, value in function["arguments"].items():
            before, after = value.split('"')
            if f"'{key}': '{before}" in shown:
                yield "writes arguments as Python does, not as JSON (it lacks `| tojson`), in the calls"
            if not any(f"{before}{quote}{after}" in shown for quote in ('"', r"\"", "&#34;", r"\u0022")):
                yield "does not show the arguments, or encodes them twice, in the calls"
    if shape.calls and shape.has_content and message["content"] not in shown:
        yield "leaves out the text beside the calls"


def _known_conversation(shapes: tuple[TurnShape, ...], has_tools: bool, settings: Mapping[str, Any]) -> Conversation:
    """A conversation of these shapes in which every word is known and different."""
    messages = tuple(_known_message(shape, number) for number, shape in enumerate(shapes))
    tools = tuple(_known_tool(number) for number in range(2)) if has_tools else ()
    return replace(Conversation(messages, tools), template_kwargs=dict(settings))


def _known_message(shape: TurnShape, number: int) -> Message:
    message: Message = {"role": shape.role, "content": f"Cx{number}contentx0C" if shape.has_content else ""}
    if shape.calls:
        message["tool_calls"] = [
            _known_call(shape, number, place, has_arguments) for place, has_arguments in enumerate(shape.calls)
        ]
    if shape.role == "tool" and shape.has_ids:
        message["tool_call_id"] = _known_id(number - 1, 0)
    if shape.has_name:
        message["name"] = f"Nx{number}namex0N"
    if shape.thinks:
        message[THINKING] = f"Rx{number}thoughtx0R"
    return message


def _known_call(shape: TurnShape, number: int, place: int, has_arguments: bool) -> dict[str, Any]:
    word = f"{number}x{place}"
    arguments = {f"Kx{word}keyx0K": f'Vx{word}value"x0V'} if has_arguments else {}
    function = {"name": f"Fx{word}functionx0F", "arguments": arguments}
    identity = {"id": _known_id(number, place)} if shape.has_ids else {}
    return {**identity, "type": "function", "function": function}


def _known_id(number: int, place: int) -> str:
    """Nine letters and digits, as the templates of Mistral ask for."""
    return f"id{number:04d}{place:03d}"[:9]


def _known_tool(number: int) -> dict[str, Any]:
    name, describes, parameter = (f"{kind}x{number}toolx0{kind}" for kind in ("T", "D", "P"))
    parameters = {
        "type": "object",
        "properties": {parameter: {"type": "string", "description": "a text"}},
        "required": [parameter],
    }
    return {"type": "function", "function": {"name": name, "description": describes, "parameters": parameters}}


def _words_of_tool(tool: dict[str, Any]) -> tuple[str, ...]:
    function = tool["function"]
    return (function["name"], function["description"], *function["parameters"]["properties"])
