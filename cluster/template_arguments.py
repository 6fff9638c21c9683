"""Arguments of a model's chat template, such as `enable_thinking`, that a request or a training row may set."""

import re
from collections.abc import Mapping
from typing import Any

MAX_TEMPLATE_ARGUMENTS, MAX_ARGUMENT_LENGTH = 16, 256
TAKEN_ARGUMENTS = frozenset({
    # of transformers' apply_chat_template: the conversation, and how it becomes tokens
    "conversation", "conversations", "messages", "tools", "documents", "chat_template", "add_generation_prompt",
    "continue_final_message", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict",
    "return_assistant_tokens_mask", "tokenizer_kwargs", "add_special_tokens", "tool_choice", "response_format",
    # that a template finds there without anybody's doing
    "raise_exception", "strftime_now", "namespace", "range", "dict", "lipsum", "cycler", "joiner", "loop", "self",
    "bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token",
    "additional_special_tokens",
})  # fmt: skip
"""Names that belong to a request's other fields, to the tokenizer or to the engine."""
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def check_template_arguments(arguments: Mapping[str, Any], field: str) -> None:
    """Check arguments of a chat template.

    Raises:
        ValueError: a value is no scalar, or a name would change the conversation, the tools or how both become tokens.
    """
    problem = find_bad_argument(arguments, field)
    if problem:
        raise ValueError(problem[1])


def find_bad_argument(arguments: Mapping[str, Any], field: str) -> tuple[str, str] | None:
    """The place of the first argument that cannot be set, and why; None where all can. `field` is in backticks."""
    whole = field.strip("`")
    if len(arguments) > MAX_TEMPLATE_ARGUMENTS:
        return whole, f"{field} takes an object with up to {MAX_TEMPLATE_ARGUMENTS} arguments of the chat template."
    for name, value in arguments.items():
        if not _ARGUMENT.fullmatch(name):
            return whole, f"{field} takes names of letters, digits and underscores, up to 64 characters each."
        place = f"{whole}.{name}"
        if name.lower() in TAKEN_ARGUMENTS:
            return place, f"{field} cannot set {name}: it belongs to the request or to the tokenizer."
        is_text = isinstance(value, str) and len(value) <= MAX_ARGUMENT_LENGTH
        if not is_text and not isinstance(value, bool | int | float | None):
            accepted = f"true, false, a number, null, or a text of up to {MAX_ARGUMENT_LENGTH} characters"
            return place, f"`{place}` takes {accepted}."
    return None
