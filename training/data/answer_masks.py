"""A conversation -> token ids through the model's chat template, and which of these tokens are learnt.

An answer is learnt exactly as it will be generated: after the rendering of the messages before it with the generation
prompt, up to and including the token that ends its turn. A template that only appends gives one sequence for a whole
row, in which every answer is learnt. A template that renders earlier turns differently once another follows (drops
their thinking, moves the system message) gives one sequence for each rendering, each with the answers that the model
will have seen and written in that form (docs/decisions/007-answer-masks.md).
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from training.data.conversation import Conversation
from training.data.templates.probes import CLOSING_TAG, check_all_is_shown, place_thinking
from training.data.templates.rendering import apply_template, render, template_source
from training.data.templates.special_tokens import added_token_texts, special_token_texts

_GENERATION_MARK = re.compile(r"{%-?\s*generation\s*-?%}")
_QUESTION, _ANSWER = "Qx0questionx0Q", "Ax0answerx0A"


@dataclass(frozen=True)
class Example:
    """One sequence of tokens; `is_answer[i]` says whether token i is learnt, and `loss_weights[i]` what it counts then.

    Without `loss_weights` every token that is learnt counts 1.
    """

    token_ids: list[int]
    is_answer: list[bool]
    loss_weights: list[float] | None = None

    @property
    def counted(self) -> list[float]:
        """What each token counts in the loss; 0 where it is not learnt."""
        return [float(mark) for mark in self.is_answer] if self.loss_weights is None else self.loss_weights


def encode_conversation(tokenizer: Any, conversation: Conversation) -> list[Example]:
    """The sequences that teach every answer of a row that counts: one, or several where the template rewrites earlier
    turns.

    Raises:
        ValueError: the template refuses these messages, or does not let an answer be told apart.
    """
    sequences: list[Example] = []
    for number in reversed(range(len(conversation.messages))):
        if weight := conversation.loss_weight(number):
            turn = encode_last_answer(tokenizer, conversation.until(number + 1))
            if weight != 1:
                turn = replace(turn, loss_weights=[weight if mark else 0.0 for mark in turn.is_answer])
            _merge_sequence(sequences, turn)
    return sequences[::-1]


def encode_last_answer(tokenizer: Any, conversation: Conversation) -> Example:
    """One sequence that ends with the turn of the last message, the only one that is learnt: what it thinks, its text
    and the tools that it calls, as the model will write them.

    Raises:
        ValueError: as `encode_conversation`.
    """
    conversation = place_thinking(tokenizer, conversation)
    messages = conversation.messages
    before = conversation.with_messages(messages[:-1])
    prompt, whole = render(tokenizer, before, add_generation_prompt=True), render(tokenizer, conversation)
    check_all_is_shown(tokenizer, conversation)
    closing = _find_closing(tokenizer, conversation)
    answer = (
        whole.removeprefix(prompt)
        if whole.startswith(prompt)
        else _answer_after_rewritten_prompt(tokenizer, conversation)
    )
    if not answer.endswith(closing):
        raise ValueError(f"the chat template does not close message {len(messages)} as it closes others")
    start, token_ids = _tokenize_prompt_and_answer(tokenizer, prompt, answer)
    end_of_turn = _find_end_of_turn(tokenizer, token_ids, closing)
    marks = _generation_mask(tokenizer, conversation, token_ids)
    learnt = marks[start : end_of_turn.start]
    if not any(learnt):
        raise ValueError(f"the chat template leaves nothing of message {len(messages)} to be learnt")
    if messages[-1].get("tool_calls") and not learnt[-1]:
        raise ValueError(f"the chat template marks message {len(messages)} as learnt without its calls")
    is_answer = [start <= i and (marks[i] or i in end_of_turn) for i in range(end_of_turn.stop)]
    return Example(token_ids[: end_of_turn.stop], is_answer)


def render_conversation(tokenizer: Any, conversation: Conversation, **options: Any) -> str:
    """The text that the chat template makes of a conversation.

    Raises:
        ValueError: the template refuses it.
    """
    return render(tokenizer, conversation, **options)


def _merge_sequence(sequences: list[Example], turn: Example) -> None:
    """Merge a turn into the longer sequence that begins with the same tokens, or add it as a new sequence."""
    end = len(turn.token_ids)
    for number, longer in enumerate(sequences):
        if longer.token_ids[:end] == turn.token_ids:
            both = [mine or other for mine, other in zip(turn.is_answer, longer.is_answer[:end], strict=True)]
            weights = None
            if turn.loss_weights is not None or longer.loss_weights is not None:
                pairs = zip(turn.counted, longer.counted[:end], strict=True)
                weights = [mine or other for mine, other in pairs] + longer.counted[end:]
            sequences[number] = replace(longer, is_answer=both + longer.is_answer[end:], loss_weights=weights)
            return
    sequences.append(turn)


def _find_closing(tokenizer: Any, conversation: Conversation) -> str:
    """What the template puts behind the last message: behind its text, or where calls end otherwise, behind those."""
    messages, word = conversation.messages, _unused_word(conversation, _ANSWER)
    said = render(tokenizer, conversation.with_messages((*messages[:-1], {"role": "assistant", "content": word})))
    if word not in said:
        raise ValueError(f"the chat template does not show message {len(messages)} as it is written")
    behind_text = said.rpartition(word)[2]
    if not (calls := messages[-1].get("tool_calls")):
        return behind_text
    call = {**calls[-1], "function": {"name": calls[-1]["function"]["name"], "arguments": {word: word}}}
    known = {**messages[-1], "tool_calls": [*calls[:-1], call]}
    behind_call = render(tokenizer, conversation.with_messages((*messages[:-1], known))).rpartition(word)[2]
    if behind_call.endswith(behind_text):
        return behind_text
    return _from_last_special_token(tokenizer, behind_call)


def _from_last_special_token(tokenizer: Any, text: str) -> str:
    special = (tokenizer.decode([number]) for number in _special_token_ids(tokenizer))
    return text[max((place for token in special if (place := text.rfind(token)) >= 0), default=len(text)) :]


def _answer_after_rewritten_prompt(tokenizer: Any, conversation: Conversation) -> str:
    """What the answer adds to a prompt that the template renders differently once the answer follows.

    A known word for the question shows what the template puts behind it, with and without the answer. Where the prompt
    ends with more than that (it opens a block of thinking, say), the answer must begin with the rest.
    """
    messages = conversation.messages
    question, reply = _unused_word(conversation, _QUESTION), _unused_word(conversation, _ANSWER)
    asked = conversation.with_messages((*messages[:-2], {**messages[-2], "content": question}))
    before = render(tokenizer, asked, add_generation_prompt=True).rpartition(question)[2]
    behind = render(tokenizer, asked.with_messages((*asked.messages, messages[-1]))).rpartition(question)[2]
    if behind.startswith(before):
        return behind.removeprefix(before)
    answered = asked.with_messages((*asked.messages, {"role": "assistant", "content": reply}))
    between = render(tokenizer, answered).rpartition(reply)[0].rpartition(question)[2]
    opened = before.removeprefix(between)
    thought = _leading_thought(messages[-1]["content"])
    if opened and before.startswith(between) and behind.startswith(between) and thought.startswith(opened):
        return thought.removeprefix(opened) + behind.removeprefix(between)
    needed = f": it must begin with {opened!r}" if opened and before.startswith(between) else ""
    raise ValueError(
        f"the chat template asks for an answer with {before!r}, and message {len(messages)} is no answer to that"
        f"{needed}"
    )


def _leading_thought(content: str) -> str:
    """The thinking in front of an answer, with its closing tag and the space behind it; empty where there is none."""
    thought, tag, answer = content.partition(CLOSING_TAG)
    return thought + tag + answer[: len(answer) - len(answer.lstrip())] if tag else ""


def _unused_word(conversation: Conversation, word: str) -> str:
    """The word, made longer until nothing in the conversation holds it."""
    text = f"{conversation.messages}{conversation.tools}"
    while word in text:
        word += "x"
    return word


def _tokenize_prompt_and_answer(tokenizer: Any, prompt: str, answer: str) -> tuple[int, list[int]]:
    """Number of tokens of the prompt, and the tokens of prompt and answer, with no token that spans both."""
    before, whole = _tokenize(tokenizer, prompt), _tokenize(tokenizer, prompt + answer)
    if whole[: len(before)] == before:
        return len(before), whole
    separate = before + _tokenize(tokenizer, answer)
    if tokenizer.decode(separate) != tokenizer.decode(whole):
        raise ValueError(f"the tokenizer cannot part the prompt from the answer, which begins with {answer[:20]!r}")
    return len(before), separate


def _find_end_of_turn(tokenizer: Any, token_ids: list[int], closing: str) -> range:
    """The positions of the tokens that end the turn.

    These are, in the text that the template puts after an answer, the special tokens up to end-of-sequence, or the
    first run of special tokens. What follows (a line feed) belongs to the template. A template that closes without a
    special token ends with its last token.
    """
    special = _special_token_ids(tokenizer)
    behind = _tokenize_closing(tokenizer, closing)
    if not special.intersection(behind):  # some models' `<|im_end|>` was added without being special
        special = set(added_token_texts(tokenizer))
    places = [i for i, token in enumerate(behind) if token in special]
    if not places:
        return range(len(token_ids), len(token_ids))
    if tokenizer.eos_token_id in behind:
        last = behind.index(tokenizer.eos_token_id)
    else:
        last = next(i for i in places if i + 1 not in places)
    num_after = sum(place > last for place in places)
    positions = [i for i, token in enumerate(token_ids) if token in special]
    first = positions[len(positions) - len(places)]
    return range(first, positions[len(positions) - 1 - num_after] + 1)


def _generation_mask(tokenizer: Any, conversation: Conversation, token_ids: list[int]) -> list[bool]:
    """Which tokens a template's {% generation %} marks allow to be learnt; all tokens where it has no such marks."""
    if not _GENERATION_MARK.search(template_source(tokenizer, conversation)):
        return [True] * len(token_ids)
    options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    rendered = apply_template(tokenizer, conversation, **options)
    if rendered["input_ids"] != token_ids:
        return [True] * len(token_ids)
    return [bool(mark) for mark in rendered["assistant_masks"]]


@lru_cache(maxsize=4)
def _special_token_ids(tokenizer: Any) -> set[int]:
    return set(special_token_texts(tokenizer))


@lru_cache(maxsize=256)
def _tokenize_closing(tokenizer: Any, closing: str) -> tuple[int, ...]:
    return tuple(_tokenize(tokenizer, closing))


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text, from the tokenizer's backend itself where that gives the same in three quarters of the
    time: where no class of the tokenizer's own stands between, and nothing is cut or padded."""
    backend = _backend(tokenizer)
    if (
        backend is None
        or backend.truncation is not None
        or backend.padding is not None
        or backend.encode_special_tokens != tokenizer.split_special_tokens
    ):
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return list(backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)


@lru_cache(maxsize=4)
def _backend(tokenizer: Any) -> Any:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    names = ("__call__", "_encode_plus")
    bases = (PreTrainedTokenizerBase, PreTrainedTokenizerFast)
    is_plain = all(
        getattr(type(tokenizer), name) is getattr(base, name) for name, base in zip(names, bases, strict=True)
    )
    return tokenizer.backend_tokenizer if is_plain else None
