import pytest

from training.template import encode

MARKED = (
    "<s>{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>"
    "{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKED_WITHOUT_END = MARKED.replace("<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>")
CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
INSTRUCT = (
    "{% for m in messages %}{% if m.role == 'user' %}{% if loop.first %}<s>{% endif %}[Q] {{ m.content }} [A]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>"
    "{% else %}{{ raise_exception('no system message') }}{% endif %}"
    "{% endfor %}"
)
# Keeps only the last answer whole, as templates for reasoning models do with earlier turns.
REWRITING = CHATML.replace("{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else '...' }}")

ONE_TURN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
TWO_TURNS = [*ONE_TURN, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A!"}]


def marked(tokenizer, messages: list[dict[str, str]]) -> list[tuple[str, bool]]:
    example = encode(tokenizer, messages)
    return [(tokenizer.decode([token]), mark) for token, mark in zip(example.token_ids, example.is_answer, strict=True)]


def by_hand(text: str) -> list[tuple[str, bool]]:
    """Tokens separated by blanks; `^` in front of those that are learnt, `_` for a space, `~` for a line feed."""
    spelled = [(token.removeprefix("^"), token.startswith("^")) for token in text.split()]
    return [(token.replace("_", " ").replace("~", "\n"), mark) for token, mark in spelled]


@pytest.mark.parametrize("template", [MARKED, MARKED_WITHOUT_END])
def test_a_template_that_marks_its_answers(make_tokenizer, template: str) -> None:
    assert marked(make_tokenizer(template), TWO_TURNS) == by_hand(
        "<s> <|user|> H i <|end|> <|assistant|> ^Y ^o ^<|end|> <|user|> Q <|end|> <|assistant|> ^A ^! ^<|end|>"
    )


def test_a_template_with_a_line_feed_behind_each_turn(make_tokenizer) -> None:
    assert marked(make_tokenizer(CHATML), TWO_TURNS) == by_hand(
        "<|start|> u s e r ~ H i <|end|> ~ <|start|> a s s i s t a n t ~ ^Y ^o ^<|end|> ~ "
        "<|start|> u s e r ~ Q <|end|> ~ <|start|> a s s i s t a n t ~ ^A ^! ^<|end|> ~"
    )


def test_a_template_without_roles_whose_turns_end_with_eos(make_tokenizer) -> None:
    assert marked(make_tokenizer(INSTRUCT), TWO_TURNS) == by_hand(
        "<s> [ Q ] _ H i _ [ A ] ^_ ^Y ^o ^</s> [ Q ] _ Q _ [ A ] ^_ ^A ^! ^</s>"
    )


def test_a_system_message_is_not_learnt(make_tokenizer) -> None:
    messages = [{"role": "system", "content": "S"}, *ONE_TURN]
    assert marked(make_tokenizer(MARKED), messages) == by_hand(
        "<s> <|system|> S <|end|> <|user|> H i <|end|> <|assistant|> ^Y ^o ^<|end|>"
    )


def test_a_template_that_rewrites_earlier_turns_is_refused_where_it_matters(make_tokenizer) -> None:
    assert marked(make_tokenizer(REWRITING), ONE_TURN)[-4:] == by_hand("^Y ^o ^<|end|> ~")
    with pytest.raises(ValueError, match=r"renders message 2 differently where more follows"):
        encode(make_tokenizer(REWRITING), TWO_TURNS)


def test_what_the_template_says_when_it_refuses(make_tokenizer) -> None:
    with pytest.raises(ValueError, match="no system message"):
        encode(make_tokenizer(INSTRUCT), [{"role": "system", "content": "S"}, *ONE_TURN])
