"""What is warned of, template by template, with rows as they are trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from tests.training import templates
from tests.training.conftest import byte_tokenizer
from tests.training.ending_templates import CHATML, FAMILIES, Family
from training.data.conversation import Conversation
from training.data.rows import DataReport, TrainingRow
from training.data.templates.learnt_ends import learnt_ends, served_ends
from training.data.templates.template_check import TemplateCheck, TemplateWarning
from training.data.tokenize import encode_usable_rows

TALK = ["Hi", "Yo", "How are you?", "Fine."]


def chat(*texts: str, system: str | None = None) -> Conversation:
    turns = [
        {"role": role, "content": text}
        for role, text in zip(["user", "assistant"] * len(texts), texts, strict=False)
    ]  # fmt: skip
    return Conversation((*([] if system is None else [{"role": "system", "content": system}]), *turns))


def as_rows(*conversations: Conversation, **fields: Any) -> tuple[TrainingRow, ...]:
    return tuple(
        TrainingRow(number, f"rows.jsonl:{number}", conversation, str(number), (), None, **fields)
        for number, conversation in enumerate(conversations, 1)
    )


def model_of(family: Family, folder: Path, generation: dict[str, Any] | None = None) -> tuple[Any, str]:
    """A tokenizer of a family, and a model's folder that has its settings and no weights."""
    tokenizer = byte_tokenizer(family.template, special=family.special)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in family.added])
    tokenizer.eos_token = family.eos
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": tokenizer.eos_token_id}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return tokenizer, str(folder)


def checked(tokenizer: Any, model: str, rows: tuple[TrainingRow, ...], **settings: Any) -> TemplateCheck:
    check = TemplateCheck(tokenizer, model, **settings)
    encode_usable_rows(DataReport((), rows, (), ()), tokenizer, check=check)
    return check


def problems(check: TemplateCheck) -> str:
    return "\n".join(str(warning) for warning in check.warnings())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_that_each_family_of_templates_teaches(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    tokenizer, model = model_of(family, tmp_path)
    check = checked(tokenizer, model, as_rows(chat(*TALK), chat("Q", "A")))
    assert [tokenizer.decode([end]) for end in check.learnt_ends] == [family.end] * (family.end is not None)
    served = family.end == family.eos and family.end is not None
    assert ("No token ends" in problems(check)) == (family.end is None)
    assert ("is served with" in problems(check)) == (family.end is not None and not served)
    assert len(check.warnings()) == (not served)


def test_a_list_of_ends_in_generation_config_is_read(tmp_path: Path) -> None:
    tokenizer, model = model_of(FAMILIES["llama 3"], tmp_path, {"eos_token_id": [3, 4, 5]})
    end = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    rows = as_rows(chat(*TALK))
    assert checked(tokenizer, model, rows).ends_not_served == (end,)
    for generation in ({"eos_token_id": [1, end]}, {"eos_token_id": end}):
        tokenizer, model = model_of(FAMILIES["llama 3"], tmp_path, generation)
        assert checked(tokenizer, model, rows).warnings() == ()


def test_config_json_counts_only_without_a_generation_config(tmp_path: Path) -> None:
    """As in vLLM: a generation_config.json without ends leaves the tokenizer's alone."""
    tokenizer, model = model_of(FAMILIES["phi"], tmp_path)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": [end]}}))
    assert served_ends(tokenizer, model) == tuple(sorted((end, tokenizer.eos_token_id)))
    (tmp_path / "generation_config.json").write_text("{}")
    assert served_ends(tokenizer, model) == (tokenizer.eos_token_id,)
    (tmp_path / "generation_config.json").write_text("no JSON")
    assert served_ends(tokenizer, model) == tuple(sorted((end, tokenizer.eos_token_id)))


def test_an_end_that_is_typed_behind_each_answer_is_learnt(tmp_path: Path) -> None:
    tokenizer, model = model_of(FAMILIES["nothing behind the answer"], tmp_path)
    rows = as_rows(chat("Hi", "Yo</s>"), chat("Q", "A</s>"), chat("Q", "B"))
    check = checked(tokenizer, model, rows)
    assert check.learnt_ends == (2,)
    assert "No token ends 1 of 3 answers" in problems(check)


@pytest.mark.parametrize(
    ("last", "ends"), [({5: 10}, (5,)), ({5: 9, 6: 1}, (5, 6)), ({5: 1, 100: 9}, ()), ({100: 3}, ()), ({}, ())]
)
def test_ordinary_tokens_are_no_ends(last: dict[int, int], ends: tuple[int, ...]) -> None:
    assert learnt_ends(last, {5: "<|end|>", 6: "<|call|>"}) == ends


def warnings_for(template: str, *conversations: Conversation, **fields: Any) -> tuple[TemplateWarning, ...]:
    tokenizer = byte_tokenizer(template, special=templates.SPECIAL)
    tokenizer.eos_token = templates.EOS.get(template, "<|im_end|>")
    model = str(Path(__file__).parents[4] / "examples" / "quickstart" / "model")
    found = checked(tokenizer, model, as_rows(*conversations, **fields)).warnings()
    return tuple(each for each in found if "is served with" not in each.problem)


@pytest.mark.parametrize(
    ("template", "conversation", "problem"),
    [
        (CHATML.replace("in messages", "in messages if m.role != 'system'"), chat(*TALK, system="Be kind."),
         "leaves out system messages"),
        ("{% set messages = messages[-2:] if messages[-1].role == 'assistant' else messages[-1:] %}" + CHATML,
         chat("The first question", "Yo", "Hi", "Fine"), "leaves out user messages"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | upper if m.role != 'assistant' else m.content }}"),
         chat("Hi there", "Yo"), "changes user messages"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | replace('\\n', ' ') }}"), chat("A\nb\nc", "Yo"),
         "changes user messages"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | e if m.role == 'system' else m.content }}"),
         chat("Hi", "Yo", system="Answer in <b>bold</b>"), "system messages"),
        (CHATML.replace("{{ m.content }}", "{{ m.content[:60] }}"), chat("word " * 40, "Yo"), "cuts user messages"),
        (CHATML.replace("{{ m.content }}", "{{ m.content | replace('\\n', ' ') }}"), chat("Hi", "A\nb"),
         "changes answers"),
        (templates.LLAMA3, chat("Hi", "\n  Yo\n"), "removes white space around answers"),
        ("{{ strftime_now('%d %b %Y') }}" + CHATML, chat("Hi", "Yo"), "today's date"),
        ("<s><s>" + CHATML, chat("Hi", "Yo"), "more than once"),
    ],
)  # fmt: skip
def test_what_a_template_does_to_rows_is_warned_of(template: str, conversation: Conversation, problem: str) -> None:
    found, *_ = warnings_for(template, conversation)
    assert problem in found.problem and found.remedy and found.num_rows == 1


@pytest.mark.parametrize(
    ("template", "conversation"),
    [
        *((template, chat(*TALK)) for template in (CHATML, templates.LLAMA2, templates.MISTRAL, templates.MARKED)),
        *((template, chat(*TALK, system="Be kind.")) for template in (CHATML, templates.LLAMA2, templates.MISTRAL)),
        (templates.QWEN3, chat("Hi", "<think>\nSo.\n</think>\n\nYo", "Q", "<think>\nThen.\n</think>\n\nA!")),
        (templates.R1, chat("Hi", "<think>\nSo.\n</think>\n\nYo", "Q", "<think>\nThen.\n</think>\n\nA!")),
        (templates.LLAMA3, chat("  Hi\n", "Yo")),
        (CHATML, chat("<td>x</td> a < b | c > d [1] 漢字 é", "1 < 2")),
        ("{% if date is defined %}{{ date }}{% endif %}" + CHATML, chat("Hi", "Yo")),
    ],
)
def test_what_is_as_it_should_be_is_not_warned_of(template: str, conversation: Conversation) -> None:
    assert warnings_for(template, conversation) == ()


def test_a_template_that_drops_the_system_message_is_no_matter_where_no_row_has_one() -> None:
    assert warnings_for(CHATML.replace("in messages", "in messages if m.role != 'system'"), chat(*TALK)) == ()


def test_a_system_message_late_in_the_file_is_compared_too() -> None:
    plain = [chat("Hi", "Yo")] * 120
    found = warnings_for(
        CHATML.replace("in messages", "in messages if m.role != 'system'"), *plain, chat("Hi", "Yo", system="Be kind.")
    )
    assert [each.examples for each in found] == [("rows.jsonl:121",)]


def test_the_date_can_be_fixed() -> None:
    template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b') %}{% endif %}{{ date_string }}"
    )
    (found,) = warnings_for(template + CHATML, chat("Hi", "Yo"))
    assert "`training.chat_template_kwargs: {date_string: ...}`" in found.remedy
    fixed = Conversation(chat("Hi", "Yo").messages, template_kwargs={"date_string": "1 Jan 2026"})
    assert warnings_for(template + CHATML, fixed) == ()
    (found,) = warnings_for("{{ strftime_now('%Y') }}" + CHATML, chat("Hi", "Yo"))
    assert "in the text of the chat template" in found.remedy


def test_control_tokens_are_listed_or_refused(tmp_path: Path) -> None:
    tokenizer, model = model_of(FAMILIES["chatml on a base model"], tmp_path, {"eos_token_id": []})
    tokenizer.eos_token = "<|im_end|>"
    rows = as_rows(chat("Hi", "Yo"), chat("Hi<|im_end|>", "Yo"), chat("Hi", "Yo", system="<|im_start|>system"))
    (found,) = checked(tokenizer, model, rows).warnings()
    assert found.num_rows == 2
    assert found.examples == (
        "rows.jsonl:2: <|im_end|> (in the user message)", "rows.jsonl:3: <|im_start|> (in the system message)",
    )  # fmt: skip
    check = TemplateCheck(tokenizer, model, "refuse")
    data = encode_usable_rows(DataReport((), rows, (), ()), tokenizer, check=check)
    assert [row.row.line for row in data.rows] == [1]
    assert data.left_out[0].reason == "the control token <|im_end|> is in the text (in the user message)"
    assert check.warnings() == ()


def test_many_rows_are_counted_and_some_are_named(tmp_path: Path) -> None:
    tokenizer, model = model_of(FAMILIES["mistral"], tmp_path)
    (found,) = checked(tokenizer, model, as_rows(*[chat("a </s> b", "Yo")] * 30)).warnings()
    assert (found.num_rows, len(found.examples)) == (30, 20)
    assert str(found).endswith("\n  and 10 more") and found.shown(3).endswith("\n  and 27 more")
