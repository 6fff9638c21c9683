"""What a chat template says about thinking, before its model is asked."""

import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
from serving.engine.model_files import read_chat_templates
from tandem.compare.chat_template import check_thinking_arms, thinks_by_template
from tandem.project.project import load

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


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        (PLAIN, False), (ALWAYS, False), (HYBRID, True), (WHEN_ASKED, True),
        ("{% if not thinking %}</think>{% endif %}", True),
        (PLAIN + "{{ message['thinking'] }}{{ message.thinking }}{{ message.get('enable_thinking') }}", False),
    ],
)  # fmt: skip
def test_an_arm_that_is_asked_to_think_needs_a_template_that_can_say_so(
    template: str, reads: bool, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "chat_template.jinja").write_text(template)
    (tmp_path / "tandem.yaml").write_text("model: .\nevaluation: {arms: [base, base_no_thinking]}\n")
    project = load(tmp_path / "tandem.yaml")
    if reads:
        check_thinking_arms(project)
    else:
        with pytest.raises(TandemError, match=r"`base_no_thinking` .* chat template .*`enable_thinking`"):
            check_thinking_arms(project)
