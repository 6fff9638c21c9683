"""What a model's chat template says about thinking: whether it thinks before it answers, and can be asked to."""

import re
from collections.abc import Sequence

from jinja2 import TemplateError

from cluster.errors import TandemError
from evaluation.asking.turns import THINKING_ARGUMENTS
from evaluation.config import VARIANTS
from evaluation.questions.thinking import may_think, opens_thinking
from serving.engine.model_files import read_chat_templates
from tandem.project.project import Project


def base_chat_templates(project: Project) -> list[str]:
    """The chat templates of the base model as it is served; empty where none is known."""
    return read_chat_templates(project.serving.models.get("base", project.model))


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
    prompt = _render(templates[0], {} if thinking is None else dict.fromkeys(THINKING_ARGUMENTS, thinking))
    return True if prompt is not None and opens_thinking(prompt) else None


def check_thinking_arms(project: Project) -> None:
    """Raise a TandemError where an arm's model is asked to think, or not to, and its chat template cannot say so."""
    asked = [arm for arm in project.evaluation.arms if arm in VARIANTS]
    templates = base_chat_templates(project) if asked else []
    if not templates or any(map(_reads_argument, templates)):
        return
    raise TandemError(
        f"The arm `{asked[0]}` asks its model to think or not to, and its chat template has no argument for that.",
        f"A model whose chat template reads {' or '.join(f'`{name}`' for name in THINKING_ARGUMENTS)}.",
        f"Name `{VARIANTS[asked[0]][0]}` in `evaluation.arms` instead, or another model.",
    )


def _reads_argument(template: str) -> bool:
    """Whether a template reads one of the arguments; a field of a message may be called the same."""
    return re.search(rf"(?<![\w.'\"])(?:{'|'.join(THINKING_ARGUMENTS)})(?![\w'\"])", template) is not None


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
