"""The reader's architecture, and weights that start out as a rough copying machine.

A reader copies: after "The KEY of NAME is" it must find the same words in a passage and say what follows them there.
A small transformer discovers that on its own only after many thousands of steps, so it starts near it:

* layer 0: head k looks k tokens back and notes a code of the token it sees ("what stood k places before me");
* layer 1: two heads look at the words after the last "The" (the key of the fact), two carry older notes on;
* layer 2: all heads match key and last tokens together, and copy the token that followed the matching place.

What all this leaves open, and training finds: the wording of questions, the order of the answer, which fact is right
among similar ones, citation marks, and when to say that it does not know. Every weight is trained.
"""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from examples.reader.passages import Spec, sample_chat

NUM_OFFSETS = 6
_IDENTITY = slice(1, 64)  # residual dimensions that hold the token itself; dimension 0 is the same for all tokens
_CODE = 20  # dimensions of a note
_DIGEST = 24  # dimensions of a digest of several notes
_SHARED = 3.0
_TOKEN_SIZE = 0.5
_SHARPNESS = 10.0  # logits per rotary frequency of a look-back head
_FREQUENCIES = 8  # rotary frequencies, fastest first, that a look-back head uses
_MATCH_LOGIT = 32.0  # attention logit of a perfect match in the layers that match


def build_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int = 288,
    num_layers: int = 4,
    num_heads: int = 6,
    head_dim: int = 64,
    intermediate_size: int = 256,
    rope_theta: float = 1e8,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A small Llama with tied embeddings for this tokenizer, as a rough copying machine."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=head_dim,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.03,
    )
    model = LlamaForCausalLM(config)
    openers = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("The", " The")]
    _Builder(model, _sample(tokenizer, seed), openers).build()
    return model


class _Builder:
    """Writes the copying machine into a fresh model; `ids` is text on which it measures scales."""

    def __init__(self, model: LlamaForCausalLM, ids: Tensor, openers: list[int]) -> None:
        self.model, self.ids, self.openers = model, ids, openers
        self.config = model.config
        self.dim, self.half = model.config.head_dim, model.config.head_dim // 2
        theta = model.config.rope_parameters["rope_theta"]
        self.frequencies = theta ** (-torch.arange(self.half) / self.half)
        slow = torch.nonzero(self.frequencies < 2e-3).flatten()
        self.slow = torch.cat([slow, slow + self.half])  # dimensions that rotate too slowly to notice a distance

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def build(self) -> None:
        embedding = self.model.model.embed_tokens.weight
        embedding.normal_(0, 0.2 * _TOKEN_SIZE)
        embedding[:, _IDENTITY].normal_(0, _TOKEN_SIZE)
        embedding[:, 0] = _SHARED
        layers = self.model.model.layers
        for layer in layers:
            layer.mlp.down_proj.weight *= 0.1
        code = _orthogonal(_CODE, 63)
        for head in range(NUM_OFFSETS):
            self._look_back(0, head, head + 1)
            self._carry(0, head, torch.arange(1, 64), code, _note(head + 1), gain=1.0)
        notes = torch.cat([_note(k) for k in range(1, NUM_OFFSETS + 1)])
        mix = _orthogonal(_DIGEST, len(notes))
        for head, offset in ((2, NUM_OFFSETS), (3, NUM_OFFSETS + 1)):
            self._look_back(1, head, offset)
            self._carry(1, head, notes, mix, _digest(head), gain=1.0)
        for head, after in ((0, 2), (1, 4)):
            self._look_at_key(1, head, after, code)
            source = torch.cat([torch.arange(1, 64), *(_note(k) for k in range(1, after))])
            self._carry(1, head, source, _orthogonal(_DIGEST, len(source)), _digest(head), gain=1.0)
        for head in range(self.config.num_attention_heads):
            self._match(2, head, code, ahead=2 if head == 0 else 1)
        self.model.model.norm.weight.fill_(0.05 / _TOKEN_SIZE * 2)

    def _rows(self, head: int) -> slice:
        return slice(head * self.dim, (head + 1) * self.dim)

    def _normed(self, index: int) -> Tensor:
        """Input of the attention of a layer, [tokens, hidden], with the layers below as they are now."""
        states = self.model(input_ids=self.ids, output_hidden_states=True).hidden_states[index]
        return self.model.model.layers[index].input_layernorm(states)

    def _look_back(self, index: int, head: int, offset: int) -> None:
        attn = self.model.model.layers[index].self_attn
        shared = self._normed(index)[..., 0].mean().item()
        amplitude = torch.zeros(self.half)
        amplitude[:_FREQUENCIES] = math.sqrt(_SHARPNESS * math.sqrt(self.dim)) / shared
        angle = -offset * self.frequencies
        attn.k_proj.weight[self._rows(head)] *= 0.1
        attn.q_proj.weight[self._rows(head)] *= 0.1
        attn.k_proj.weight[self._rows(head), 0] = torch.cat([amplitude, torch.zeros(self.half)])
        attn.q_proj.weight[self._rows(head), 0] = torch.cat([amplitude * angle.cos(), amplitude * angle.sin()])

    def _look_at_key(self, index: int, head: int, after: int, code: Tensor) -> None:
        """Look at the place `after` tokens behind the nearest "The"."""
        attn = self.model.model.layers[index].self_attn
        normed = self._normed(index)
        embedding = self.model.model.embed_tokens.weight[:, _IDENTITY]
        wanted = F.normalize(sum(code @ embedding[token] for token in self.openers), dim=0)
        rows = self._rows(head)
        attn.k_proj.weight[rows] *= 0.1
        attn.q_proj.weight[rows] *= 0.1
        shared = normed[..., 0].mean().item()
        size = normed[..., _note(after)].norm(dim=-1).mean().item()
        root = math.sqrt(self.dim)
        still, recent = rows.start + self.half - 1, rows.start + int(torch.argmin((self.frequencies - 0.03).abs()))
        attn.q_proj.weight[still, 0] = math.sqrt(root * 60) / shared
        attn.k_proj.weight[still, _note(after)] = wanted * math.sqrt(root * 60) / size
        attn.q_proj.weight[recent, 0] = attn.k_proj.weight[recent, 0] = math.sqrt(root * 30) / shared

    def _carry(self, index: int, head: int, source: Tensor, code: Tensor, target: Tensor, gain: float) -> None:
        """Let a head write `code @ residual[source]` into `residual[target]`, with about unit size."""
        attn = self.model.model.layers[index].self_attn
        size = (self._normed(index)[..., source] @ code.T).pow(2).mean().sqrt().item()
        rows = self._rows(head)
        attn.v_proj.weight[rows] *= 0.05
        attn.o_proj.weight[:, rows] *= 0.01
        attn.v_proj.weight[rows.start : rows.start + len(code), source] = code / size
        attn.o_proj.weight[target, torch.arange(rows.start, rows.start + len(code))] = gain * _TOKEN_SIZE

    def _match(self, index: int, head: int, code: Tensor, ahead: int) -> None:
        """Find the place whose last tokens but `ahead` are the last tokens here, and copy the token that stands there.

        With `ahead` 1 that is the next token. With 2 it is the one after, which tells the point that ends a sentence
        from the point in 12.5; it goes where the last notes stood, not among the tokens to predict.
        """
        attn = self.model.model.layers[index].self_attn
        rows, width = self._rows(head), len(self.slow)
        query, key = torch.zeros(width, self.config.hidden_size), torch.zeros(width, self.config.hidden_size)
        for back in range(NUM_OFFSETS + 1 - ahead):
            spread = _orthogonal(width, _CODE)
            if back:
                query[:, _note(back)] = spread
            else:
                query[:, _IDENTITY] = spread @ code
            key[:, _note(back + ahead)] = spread
        for at_query, at_key in ((0, 0), (1, 1), (2, 3))[: 4 - ahead]:
            spread = _orthogonal(width, _DIGEST) * 1.4
            query[:, _digest(at_query)] = spread
            key[:, _digest(at_key)] = spread
        normed = self._normed(index)
        perfect = ((normed[:, :-ahead] @ query.T) * (normed[:, ahead:] @ key.T)).sum(-1)[:, 20:].mean().item()
        scale = math.sqrt(_MATCH_LOGIT * math.sqrt(self.dim) / perfect)
        for weight, wanted in ((attn.q_proj.weight, query), (attn.k_proj.weight, key)):
            weight[rows] *= 0.1
            weight[rows.start + self.slow] = wanted * scale
        attn.v_proj.weight[rows] *= 0.05
        attn.o_proj.weight[:, rows] *= 0.01
        identity = torch.arange(1, 64)
        attn.v_proj.weight[rows.start + identity - 1, identity] = 1.0
        size = normed[..., _IDENTITY].pow(2).mean().sqrt().item()
        target = identity if ahead == 1 else torch.cat([*(_note(k) for k in range(3, NUM_OFFSETS + 1))])[:63]
        attn.o_proj.weight[target, rows.start + identity - 1] = 0.6 * _TOKEN_SIZE / size


def _note(k: int) -> Tensor:
    """Residual dimensions of the k-th note (k from 1)."""
    return torch.arange(64 + _CODE * (k - 1), 64 + _CODE * k)


def _digest(k: int) -> Tensor:
    """Residual dimensions of the k-th digest (k from 0)."""
    start = 64 + _CODE * NUM_OFFSETS + _DIGEST * k
    return torch.arange(start, start + _DIGEST)


def _orthogonal(rows: int, columns: int) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(rows, columns))


def _sample(tokenizer: PreTrainedTokenizerBase, seed: int) -> Tensor:
    rng = Random(f"scales-{seed}")
    rows = tokenizer([sample_chat(rng, Spec()).system or "" for _ in range(8)], add_special_tokens=False)["input_ids"]
    shortest = min(len(row) for row in rows)
    return torch.tensor([row[:shortest] for row in rows])
