"""The words that stand around passages: exact, since a model is trained on them."""

import pytest

from retrieval.prompt import PROMPT_HASH, Passage, estimate_tokens, fit, render, render_system

IRON = Passage("Iron", "The atomic number of Iron is 26.")
GOLD = Passage("Gold", "The symbol of Gold is Au.")
QUESTION = {"role": "user", "content": "What is the atomic number of Iron?"}
INSTRUCTION = (
    "Answer from the passages. Cite the passage, like [1]. If they do not hold the answer, say that you do not know."
)


def test_passages_are_numbered_from_one() -> None:
    assert render_system([IRON, GOLD]) == (
        f"{INSTRUCTION}\n\n[1] Iron\nThe atomic number of Iron is 26.\n\n[2] Gold\nThe symbol of Gold is Au."
    )


def test_no_passages_are_said_to_be_none() -> None:
    assert render_system([]) == f"{INSTRUCTION}\n\nNo passages were found."


def test_the_system_message_goes_in_front() -> None:
    turns = [QUESTION, {"role": "assistant", "content": "26"}, {"role": "user", "content": "And Gold?"}]
    assert render(turns, [IRON]) == [{"role": "system", "content": render_system([IRON])}, *turns]


def test_the_callers_own_system_message_stays_first() -> None:
    messages = render([{"role": "system", "content": "Be brief."}, QUESTION], [IRON])
    assert messages == [{"role": "system", "content": "Be brief.\n\n" + render_system([IRON])}, QUESTION]


def test_a_system_message_in_parts_gets_one_more_part() -> None:
    own = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    content = render([own, QUESTION], [IRON])[0]["content"]
    assert content == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "\n\n" + render_system([IRON])},
    ]


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_system_message_adds_nothing(content: str | None) -> None:
    assert render([{"role": "system", "content": content}, QUESTION], [])[0]["content"] == render_system([])


def test_the_callers_messages_are_not_changed() -> None:
    messages = [{"role": "system", "content": "Be brief."}, dict(QUESTION)]
    render(messages, [IRON])
    assert messages == [{"role": "system", "content": "Be brief."}, QUESTION]


def test_passages_that_do_not_fit_are_dropped_from_the_end() -> None:
    passages = [IRON, GOLD, Passage("Tin", "The symbol of Tin is Sn.")]
    budget = estimate_tokens(render_system([IRON, GOLD]))
    assert fit(passages, budget) == [IRON, GOLD]
    assert fit(passages, 10_000) == passages
    assert fit([], 10) == []


def test_the_first_passage_is_cut_at_a_word_where_it_alone_is_too_long() -> None:
    long = Passage("Words", " ".join(f"word{number}" for number in range(500)))
    budget = estimate_tokens(render_system([])) + 40
    [cut] = fit([long, IRON], budget)
    assert long.text.startswith(cut.text + " ")
    assert estimate_tokens(render_system([cut])) <= budget < estimate_tokens(render_system([cut])) + 5
    assert fit([long], 1)[0].text == "word0"


def test_a_tokenizer_can_be_given() -> None:
    assert fit([IRON, GOLD], 35, lambda text: len(text.split())) == [IRON]


def test_the_hash_of_the_format_is_known() -> None:
    """A model is trained on this format: whoever changes it changes this line and trains again."""
    assert PROMPT_HASH == "3916edebf542b0221783f2057c7052d0e817123aad226011a55780cb840fa8be"
