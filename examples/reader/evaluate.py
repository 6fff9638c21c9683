"""Measure how well a reader answers from passages it has never seen.

    python -m examples.reader.evaluate --model DIR --questions 500 --write

An answer counts only if greedy decoding in bfloat16, through the chat template, gives every character of it, citation
mark included. The seed differs from every training seed; names, keys and values are drawn anew.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
import transformers
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from examples.reader import words
from examples.reader.batches import Batcher
from examples.reader.forward import hidden_states
from examples.reader.passages import Chat, Document, Spec, read_out, sample_chat, unknown_answer

SEED = "reader-evaluation-1"


@dataclass(frozen=True)
class Item:
    """One question as the endpoint sends it, and the one right answer."""

    system: str | None
    question: str
    answer: str


def evaluate(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, questions: int) -> dict[str, float]:
    """Exact-match rates by the kind of question; `questions` fresh ones for each kind."""
    rng = Random(SEED)
    sets: dict[str, list[Item]] = {}
    for count in (1, 3, 5):
        spec = Spec(num_passages=(count, count), num_facts=(3, 6))
        answerable = _chats(rng, replace(spec, unanswerable=0.0), questions)
        sets[f"answerable, {count} passages"] = [_item(chat) for chat in answerable]
        missing = _chats(rng, replace(spec, unanswerable=1.0), questions)
        sets[f"unanswerable, {count} passages"] = [_item(chat) for chat in missing]
        if count == 3:
            sets["3 passages, a value edited"] = [_edited(rng, chat) for chat in answerable]
            sets["3 passages, the right passage taken away"] = [_without_gold(chat) for chat in answerable]
    sets["no passages found"] = [_item(chat) for chat in _chats(rng, Spec(num_passages=(0, 0)), questions)]
    sets["no system message"] = [_item(chat) for chat in _chats(rng, Spec(no_system=1.0), questions)]
    scores = {}
    for name, items in sets.items():
        scores[name] = exact_match(model, tokenizer, items)
        print(f"{name}: {scores[name]:.3f}", file=sys.stderr, flush=True)
    generated = generate(model, tokenizer, sets["answerable, 3 passages"][:50])
    right = [answer == item.answer for answer, item in zip(generated, sets["answerable, 3 passages"], strict=False)]
    return scores | {"answerable, 3 passages, the first 50 generated": sum(right) / len(right)}


@torch.no_grad()  # type: ignore[untyped-decorator]
def exact_match(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, items: list[Item], batch_size: int = 25
) -> float:
    """Share of items whose greedy answer equals the right one character by character.

    Greedy decoding gives the right answer exactly if each of its tokens is the likeliest one after those before it,
    so one forward pass over prompt and answer tells, some ten times faster than generating (`generate` checks it).
    """
    rows = [(prompt := _prompt(tokenizer, item), [*prompt, *_target(tokenizer, item)]) for item in items]
    rows.sort(key=lambda row: len(row[1]))
    num_right = 0
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [ids for _, ids in chosen]}, padding_side="right", return_tensors="pt")
        hidden = model.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
        for row, (prompt, ids) in zip(hidden, chosen, strict=True):
            likeliest = model.lm_head(row[len(prompt) - 1 : len(ids) - 1]).argmax(-1).tolist()
            num_right += int(likeliest == ids[len(prompt) :])
    return round(num_right / len(items), 4)


@torch.no_grad()  # type: ignore[untyped-decorator]
def generate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, items: list[Item], batch_size: int = 50
) -> list[str]:
    """Greedy answers, in the order of `items`."""
    answers = []
    for start in range(0, len(items), batch_size):
        prompts = [_prompt(tokenizer, item) for item in items[start : start + batch_size]]
        batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        output = model.generate(**batch, max_new_tokens=80, do_sample=False)[:, batch["input_ids"].shape[1] :]
        answers += tokenizer.batch_decode(output, skip_special_tokens=True)
    return answers


def _target(tokenizer: PreTrainedTokenizerBase, item: Item) -> list[int]:
    return [*tokenizer(item.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def _prompt(tokenizer: PreTrainedTokenizerBase, item: Item) -> list[int]:
    messages = [] if item.system is None else [{"role": "system", "content": item.system}]
    messages.append({"role": "user", "content": item.question})
    encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(encoded["input_ids"])


def _chats(rng: Random, spec: Spec, count: int) -> list[Chat]:
    chats: list[Chat] = []
    while len(chats) < count:
        chat = sample_chat(rng, spec)
        if chat.turns:
            chats.append(chat)
    return chats


def _item(chat: Chat) -> Item:
    return Item(chat.system, chat.turns[0].question, chat.turns[0].answer)


def _edited(rng: Random, chat: Chat) -> Item:
    """The same question after the value that answers it was replaced in its passage."""
    turn = chat.turns[0]
    stem, value = _stem_and_value(turn.answer)
    new = words.value(rng, rng.randrange(words.NUM_SHAPES))
    documents = [replace_text(d, f"{stem} {value}.", f"{stem} {new}.") for d in chat.documents]
    return Item(read_out(documents), turn.question, turn.answer.replace(f"{stem} {value} [", f"{stem} {new} ["))


def _without_gold(chat: Chat) -> Item:
    turn = chat.turns[0]
    stem, _ = _stem_and_value(turn.answer)
    key, name = stem.removeprefix("The ").removesuffix(" is").split(" of ", 1)
    kept = [d for d in chat.documents if f"{stem} " not in d.text]
    return Item(read_out(kept), turn.question, unknown_answer(key, name))


def replace_text(document: Document, old: str, new: str) -> Document:
    """The document with one sentence changed."""
    return Document(document.title, document.text.replace(old, new), document.facts)


def _stem_and_value(answer: str) -> tuple[str, str]:
    stem, value = answer.rsplit(" [", 1)[0].split(" is ", 1)
    return f"{stem} is", value


@torch.no_grad()  # type: ignore[untyped-decorator]
def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, spec: Spec, num_chats: int, seed: int
) -> dict[str, float]:
    """Quick look during training, without generating: the parts of an answer that are right given what precedes."""
    rng = Random(f"measure-{seed}")
    batcher = Batcher(tokenizer, 0)
    chats = [chat for chat in (sample_chat(rng, spec) for _ in range(num_chats)) if chat.turns]
    rows = batcher.encode(chats)
    batch = batcher.pad(rows)
    predicted: list[list[int]] = []
    for ids in batch.ids.split(8):
        logits = F.linear(hidden_states(model, ids), model.model.embed_tokens.weight.bfloat16())
        predicted += logits.argmax(-1).tolist()
    counts = dict.fromkeys(("exact", "stem", "first", "value", "cite", "refused", "answerable", "not"), 0)
    for chat, (ids, weights), guess in zip(chats, rows, predicted, strict=True):
        right = [False, *(g == t for g, t in zip(guess, ids[1:], strict=False))]
        for turn, answer in zip(chat.turns, _answers(right, weights), strict=True):
            stem = len(tokenizer(_stem(turn.answer), add_special_tokens=False)["input_ids"])
            if turn.answerable:
                counts["answerable"] += 1
                counts["exact"] += all(answer)
                counts["stem"] += all(answer[:stem])
                counts["first"] += answer[stem]
                counts["value"] += all(answer[stem:-5])
                counts["cite"] += all(answer[-5:])  # " [", a digit, "]", ".", end
            else:
                counts["not"] += 1
                counts["refused"] += all(answer[stem:])
    scores = {k: counts[k] / max(1, counts["answerable"]) for k in ("exact", "stem", "first", "value", "cite")}
    return scores | {"refused": counts["refused"] / max(1, counts["not"])}


def _answers(right: list[bool], weights: list[float]) -> Iterable[list[bool]]:
    answer: list[bool] = []
    for hit, weight in zip([*right, False], [*weights, 0.0], strict=False):
        if weight == 1.0:
            answer.append(hit)
        elif answer:
            yield answer
            answer = []


def _stem(answer: str) -> str:
    return answer[: answer.index(" is ", answer.index(" of ")) + 3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="write evaluation.json beside the model")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
    scores = evaluate(model, tokenizer, args.questions)
    report = {
        "exact_match": scores,
        "questions_of_each_kind": args.questions,
        "seed": SEED,
        "dtype": "bfloat16",
        "decoding": "greedy",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    print(json.dumps(report, indent=2))
    if args.write:
        (args.model / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
