"""Whether a model thinks before it answers, as far as its chat template says so."""

from collections.abc import Sequence

from jinja2 import TemplateError

from evaluation.questions.thinking import may_think, opens_thinking


def thinks_by_template(templates: Sequence[str], thinking: bool | None) -> bool | None:
    """True where the template begins the thinking, False where it has no word for it, None where replies show it.

    Args:
        templates: the model's chat templates, the one for chats first; empty where none is known.
        thinking: whether the model is asked to think; None leaves it to the template.
    """
    if not templates:
        return None
    if not any(map(may_think, templates)):
        return False
    prompt = _render(templates[0], {} if thinking is None else {"enable_thinking": thinking})
    return True if prompt is not None and opens_thinking(prompt) else None


def _render(template: str, arguments: dict[str, bool]) -> str | None:
    """The prompt for one question; None where the template needs more than that."""
    # It takes seconds to import, and few models need it.
    from transformers.utils.chat_template_utils import render_jinja_template

    chat = [[{"role": "user", "content": "Why?"}]]
    tokens = {"bos_token": "", "eos_token": "", "pad_token": "", "unk_token": ""}
    try:
        rendered = render_jinja_template(
            chat, chat_template=template, add_generation_prompt=True, **tokens, **arguments
        )
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return str(rendered[0][0])
