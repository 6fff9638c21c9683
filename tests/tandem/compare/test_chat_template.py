"""What a chat template says about thinking, before its model is asked."""

import json
from pathlib import Path

import pytest

from serving.engine.model_files import read_chat_templates
from tandem.compare.chat_template import thinks_by_template

TURNS = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
PLAIN = TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
ALWAYS = TURNS + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
HYBRID = PLAIN + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
WHEN_ASKED = PLAIN + "{% if enable_thinking | default(false) %}<think>{% endif %}"
BROKEN = "{{ raise_exception('thinking needs a tool') }}"


@pytest.mark.parametrize(
    ("template", "thinking", "thinks"),
    [
        (PLAIN, None, False), (ALWAYS, None, True), (ALWAYS, False, True), (HYBRID, None, None), (HYBRID, False, None),
        (WHEN_ASKED, None, None), (WHEN_ASKED, True, True), (BROKEN, None, None),
    ],
)  # fmt: skip
def test_what_a_template_says(template: str, thinking: bool | None, thinks: bool | None) -> None:
    assert thinks_by_template([template], thinking) is thinks


def test_without_a_template_replies_show_it() -> None:
    assert thinks_by_template([], None) is None and read_chat_templates("nobody/knows-this") == []


def test_templates_are_read_where_models_have_them(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    named = [{"name": "tool_use", "template": ALWAYS}, {"name": "default", "template": PLAIN}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert read_chat_templates(str(tmp_path)) == [PLAIN, ALWAYS]
    (tmp_path / "chat_template.jinja").write_text(HYBRID)
    assert read_chat_templates(str(tmp_path))[0] == HYBRID
