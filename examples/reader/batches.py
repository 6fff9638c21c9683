"""Turn generated chats into padded batches of token ids with a weight for every token to predict."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from transformers import PreTrainedTokenizerBase

from examples.reader.passages import Chat, Spec, sample_chat
from examples.reader.tokenizer import ASSISTANT, SYSTEM, USER


@dataclass(frozen=True)
class Batch:
    """`ids` and `weights`, both [batch, length]; weights[b, t] weighs the prediction of ids[b, t]."""

    ids: torch.Tensor
    weights: torch.Tensor


class Batcher:
    """Draws chats and packs chats of like length into batches of about `tokens` padded tokens each."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int, repeat_weight: float = 0.0) -> None:
        self._tokenizer = tokenizer
        self._rng = Random(f"reader-{seed}")
        self.repeat_weight = repeat_weight
        ids = tokenizer.convert_tokens_to_ids
        self._bos, self._end, self._pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self._system, self._user, self._assistant = ids(SYSTEM), ids(USER), ids(ASSISTANT)

    def draw(self, specs: list[Spec], weights: list[float], tokens: int, num_batches: int) -> list[Batch]:
        """`num_batches` batches from a mixture of specs, together about `tokens` tokens."""
        rows: list[tuple[list[int], list[float]]] = []
        total = 0
        while total < tokens:
            specs_now = self._rng.choices(specs, weights, k=4)
            for row in self.encode([sample_chat(self._rng, spec) for spec in specs_now]):
                rows.append(row)
                total += len(row[0])
        rows.sort(key=lambda row: len(row[0]))
        return [self.pad(part) for part in _split(rows, num_batches)]

    def encode(self, chats: list[Chat]) -> list[tuple[list[int], list[float]]]:
        texts = []
        for chat in chats:
            texts += [chat.system or "", *(t for turn in chat.turns for t in (" " + turn.question, turn.answer))]
        encoded = iter(self._tokenizer(texts, add_special_tokens=False)["input_ids"])
        rows = []
        for chat in chats:
            ids, weights = [self._bos], [0.0]
            system = next(encoded)
            if chat.system is not None:
                ids += [self._system, *system, self._end]
                weights += [0.0] * (len(system) + 2)
            for _ in chat.turns:
                question, answer = next(encoded), next(encoded)
                ids += [self._user, *question, self._end, self._assistant, *answer, self._end]
                weights += [0.0] * (len(question) + 3) + [1.0] * (len(answer) + 1)
            if self.repeat_weight:
                _weigh_repeats(ids, weights, self.repeat_weight)
            rows.append((ids, weights))
        return rows

    def pad(self, rows: list[tuple[list[int], list[float]]]) -> Batch:
        width = -(-max(len(ids) for ids, _ in rows) // 64) * 64  # few widths: kernels are prepared for each
        ids = torch.full((len(rows), width), self._pad)
        weights = torch.zeros(len(rows), width)
        for i, (row, weight) in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            weights[i, : len(row)] = torch.tensor(weight)
        return Batch(ids, weights)


def _weigh_repeats(ids: list[int], weights: list[float], weight: float) -> None:
    """Weigh tokens whose two predecessors stood together before, with the same token after them."""
    seen: dict[tuple[int, int], int] = {}
    for t in range(2, len(ids)):
        pair = (ids[t - 2], ids[t - 1])
        if not weights[t] and seen.get(pair) == ids[t]:
            weights[t] = weight
        seen[pair] = ids[t]


def _split(rows: list[tuple[list[int], list[float]]], parts: int) -> list[list[tuple[list[int], list[float]]]]:
    """Cut sorted rows into parts of about equally many tokens."""
    total = sum(len(ids) for ids, _ in rows)
    result: list[list[tuple[list[int], list[float]]]] = [[] for _ in range(parts)]
    done = 0
    for row in rows:
        result[min(parts - 1, done * parts // total)].append(row)
        done += len(row[0])
    return [part for part in result if part]
