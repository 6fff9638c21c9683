"""Before the first step: does a model compute in the layout of the training what its own code computes by itself?

Three rows of some dozens of tokens, cut from the training rows, go through the model's own eager attention in the
plainest call there is: one row at a time, without positions. The same rows then go through the attention of the
training, laid out as the training lays rows out. Losses may differ by what rounding makes of them. That is measured:
`noise` is by how much the model's own losses change when each number behind its embedding is changed by half a unit in
the last place. Two right attentions are 0.4 to 1.0 times as far apart, in models of 2 to 80 layers; wrong masks,
positions and windows 5 to 110 times (docs/decisions/041-attention-check.md).

A short batch fills no window of thousands of tokens. Windows that a row or a pack of the training can fill are set to
five tokens for the check, in the model's own code and in ours; others change nothing in the training either.

What others' tokens change is found to the bit: in one pack the first row is replaced, and the losses of the others must
stay (`check_rows_stay_apart`). Dropout is off, and torch's random state is left as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.data.answer_masks import Example
from training.data.examples import Examples, Tokens
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model.attention_choice import AttentionChoice
from training.model.loss import causal_model, evaluating, model_arguments, noise

_LENGTHS = (32, 19, 9)
_CHANGED_FROM = 24
_WINDOW = 5
# Attributes of configurations and attention modules that limit how many tokens a token sees. Chunks and chosen tokens
# are counted through a whole pack by transformers, windows from the token itself.
_ROW_LIMITS, _PACK_LIMITS = ("sliding_window",), ("attention_chunk_size", "index_topk")
_EQUAL_LOSSES = 1e-5
_MAX_NOISE = 3.0
# In low precision a token may go to another expert; a fault of attention changes most tokens.
_MOST_TOKENS = 0.75
_NUM_OTHER_ROWS = 3
_FAULTS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
Agree = Callable[[str | None], str | None]


@dataclass(frozen=True)
class _Sample:
    """Rows of which all tokens but the first are learnt.

    `expected` [num_answers] are their losses by the model's own calls, `noise` is how exact these are.
    """

    rows: Examples
    expected: torch.Tensor
    noise: float

    def exceeds(self, losses: torch.Tensor, precision: float) -> str | None:
        """How far losses are from those that are expected; None where rounding explains it."""
        differences, limit = (losses - self.expected).abs(), _EQUAL_LOSSES * (1 + self.expected.abs())
        limit = limit + _MAX_NOISE * self.noise
        allowed = 0.0 if precision < _EQUAL_LOSSES else 1 - _MOST_TOKENS
        if float((~(differences <= limit)).float().mean()) <= allowed:
            return None
        return f"the losses of single tokens differ by up to {float(differences.max()):.2g} nats"


def settle_attention(
    model: Any,
    rows: Examples,
    config: TrainingConfig,
    name: str,
    device: torch.device,
    chosen: AttentionChoice,
    agree: Agree = lambda problem: problem,
) -> AttentionChoice:
    """Compare the attention of a training with the model's own; where it is not right, take one that is.

    Every rank must call it; all take the same way through it.

    Args:
        model: with `chosen` as its attention; alone, or inside a DeepSpeed engine.
        name: the model's, for messages.
        agree: makes of the problem that each rank saw the one that all act on.

    Raises:
        TandemError: the model is not causal, or no attention is right in the layout of the training.
    """
    causal = causal_model(model)
    with evaluating(model), torch.no_grad(), _random_state_kept(device), _short_windows(causal, config):
        sample = _compute_own(model, rows, name, device, agree)
        right, problem = _find_right(model, sample, device, chosen.name, not config.packing, agree)
        is_padding_right = config.packing and (
            right is None and _find_right(model, sample, device, chosen.name, True, agree)[0] is not None
        )
    if right is None:
        raise _refusal(name, problem, is_padding_right)
    if right == chosen.name:
        return chosen
    causal.set_attn_implementation(right)
    return AttentionChoice(
        right,
        f"Attention runs in transformers' {right}, because with {chosen.name}, which is faster, the model does not "
        f"compute what it computes by itself: {problem}.",
        is_fallback=True,
    )


def check_rows_stay_apart(model: Any, rows: Examples, name: str, device: torch.device) -> None:
    """Change the first row of a pack and see that the other ones' losses stay.

    What stands behind a row reaches it in no causal model, so that the first row's losses with other rows behind it say
    whether losses stay to the bit. Where they do not, as where experts get other numbers of tokens and round otherwise,
    the others may change by as much as a number may be rounded and four times what the first row's changed by.

    Raises:
        TandemError: they do not stay, as in a recurrent model, or where transformers masks no rows for a model.
    """
    with evaluating(model), torch.no_grad():
        problem = _reach_problem(model, make_micro_batch(rows, tuple(range(len(rows)))).to(device))
    if problem:
        raise _refusal(name, problem, is_padding_right=True)


def batch_losses(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Losses of a batch's answer tokens [num_answers] in fp32, from all logits at once."""
    logits = model(**model_arguments(model, batch)).logits
    if logits.shape[:2] != batch.token_ids.shape:
        raise ValueError(
            f"it gives logits of the shape {tuple(logits.shape)} for {tuple(batch.token_ids.shape)} tokens"
        )
    return cross_entropy(logits.flatten(0, 1)[batch.predicts_from].float(), batch.answers, reduction="none")


def _compute_own(model: Any, rows: Examples, name: str, device: torch.device, agree: Agree) -> _Sample:
    """What the model computes by itself, how exactly, and whether its tokens see only what stands before them."""
    causal, cut = causal_model(model), _cut_tokens(rows)
    alone = [torch.from_numpy(tokens).long().to(device)[None] for tokens in cut]
    other = torch.cat([alone[0][:, :_CHANGED_FROM], alone[0][:, 1 : 1 + _LENGTHS[0] - _CHANGED_FROM]], dim=1)
    losses, problem = [], None
    try:
        with _attention(causal, "eager"):
            losses = [_own_losses(model, each) for each in (*alone, other)]
            with _perturbed(causal, noise(model) / 2):
                losses.append(_own_losses(model, alone[0]))
    except torch.OutOfMemoryError:
        raise
    except _FAULTS as error:
        problem = _first_line(error)
    if problem := agree(problem):
        raise TandemError(
            f"transformers cannot compute {name} from token ids alone: {problem}.",
            "A causal language model that gives logits for each token.",
            "Set `model` to such a model; docs/architectures.md lists those that were tried.",
        )
    *expected, changed, perturbed = losses
    spread = float((perturbed - expected[0]).abs().quantile(_MOST_TOKENS))
    examples = [Example(row.tolist(), [False] + [True] * (len(row) - 1)) for row in cut]
    sample = _Sample(Examples.from_sequences(examples), torch.cat(expected), spread)
    before = slice(0, _CHANGED_FROM - 1)
    looks_ahead = replace(sample, expected=expected[0][before]).exceeds(changed[before], noise(model))
    if agree(looks_ahead):
        raise TandemError(
            f"In {name} a token sees the tokens behind it, so that it would learn to copy the answer: it is no causal "
            "language model as its configuration stands.",
            "A causal language model. An encoder such as BERT becomes one with `is_decoder: true` in its config.json, "
            "if its weights were trained so.",
            "Set `model` to a causal language model; docs/architectures.md lists those that were tried.",
        )
    return sample


def _find_right(
    model: Any, sample: _Sample, device: torch.device, chosen: str, padded: bool, agree: Agree
) -> tuple[str | None, str]:
    """The first attention that is right in a layout, and what is wrong with the one that was chosen."""
    causal, first_problem = causal_model(model), ""
    for attention in _attentions(causal, chosen):
        with _attention(causal, attention):
            problem = agree(_layout_problem(model, sample, device, padded))
        if problem is None:
            return attention, first_problem
        first_problem = first_problem or problem
    return None, first_problem


def _layout_problem(model: Any, sample: _Sample, device: torch.device, padded: bool) -> str | None:
    """What is wrong with the losses in a layout, in evaluation and, where nothing is drawn there, in training."""
    batch = make_micro_batch(sample.rows, tuple(range(len(sample.rows))), padded=padded).to(device)
    module, precision = getattr(model, "module", model), noise(model)
    try:
        problem = sample.exceeds(batch_losses(model, batch), precision)
        if problem is None and not padded:
            problem = _reach_problem(model, batch)
        if problem is None:
            module.train()
            torch.manual_seed(0)
            losses = batch_losses(model, batch)
            torch.manual_seed(1)
            if torch.equal(losses, batch_losses(model, batch)):
                problem = sample.exceeds(losses, precision)
    except torch.OutOfMemoryError:
        raise
    except _FAULTS as error:
        problem = f"it fails with {_first_line(error)}"
    finally:
        module.eval()
    return problem


def _reach_problem(model: Any, batch: MicroBatch) -> str | None:
    """Whether the first row of a pack changes the losses of the others."""
    border = int(batch.row_starts[1])
    losses, tokens = batch_losses(model, batch), batch.token_ids[0, -_NUM_OTHER_ROWS:]
    is_first, is_other = batch.predicts_from < border, batch.predicts_from >= border
    behind = [batch_losses(model, _with_token(batch, slice(border, None), token)) - losses for token in tokens]
    rounding = float(torch.stack([change[is_first].abs().amax() for change in behind]).max())
    changes = (batch_losses(model, _with_token(batch, slice(0, border), tokens[-1])) - losses).abs()
    limit = _EQUAL_LOSSES * (1 + losses.abs())
    if rounding > _EQUAL_LOSSES:
        limit = limit + noise(model) * (1 + losses.abs()) + 4 * rounding
    # A comparison with NaN is false.
    return "a row of a pack reaches the row behind it" if bool((~(changes <= limit))[is_other].any()) else None


def _refusal(name: str, problem: str, is_padding_right: bool) -> TandemError:
    if is_padding_right:
        return TandemError(
            f"{name} is not trained on packed rows as it computes by itself: {problem}.",
            "Packing takes a transformer whose only way from token to token is attention, and which tells rows apart "
            "by positions. On padded rows other models are trained as well; docs/architectures.md says which.",
            "Set `training.packing: false`, or `model` to a model that can be packed.",
        )
    return TandemError(
        f"{name} is not trained as it computes by itself, on packed rows or on padded ones: {problem}.",
        "A causal language model of which transformers computes the same with and without other rows in a batch.",
        "Set `model` to another model. docs/architectures.md lists those that were tried.",
    )


def _attentions(causal: Any, chosen: str) -> list[str]:
    """The attention that was chosen, and those of transformers that the model can be given instead."""
    if not causal._can_set_attn_implementation():
        return [chosen]
    text = causal.config.get_text_config()
    takes_sdpa = causal._supports_sdpa and not getattr(text, "attn_logit_softcapping", None)
    return list(dict.fromkeys([chosen, *(["sdpa"] if takes_sdpa else []), "eager"]))


@contextmanager
def _attention(causal: Any, name: str) -> Iterator[None]:
    """Within this, a model has another attention, where it can be given one; each part of it gets back its own."""
    own = {id(config): (config, config._attn_implementation) for config in _configs(causal)}
    if causal._can_set_attn_implementation() and causal.config._attn_implementation != name:
        causal.set_attn_implementation(name)
    try:
        yield
    finally:
        for config, implementation in own.values():
            config._attn_implementation_internal = implementation


@contextmanager
def _short_windows(causal: Any, config: TrainingConfig) -> Iterator[None]:
    """Within this, windows that the training's rows or packs can fill are so short that the check's rows fill them."""
    pack = config.sequence_length * (config.micro_batch_size if config.packing else 1)
    limits = dict.fromkeys(_ROW_LIMITS, config.sequence_length) | dict.fromkeys(_PACK_LIMITS, pack)
    changed: list[tuple[Any, str, int]] = []
    for owner in (*_configs(causal), *causal.modules()):
        for name, longest in limits.items():
            window = vars(owner).get(name)
            if isinstance(window, int) and not isinstance(window, bool) and _WINDOW < window < longest:
                changed.append((owner, name, window))
                object.__setattr__(owner, name, _WINDOW)
    try:
        yield
    finally:
        for owner, name, window in changed:
            object.__setattr__(owner, name, window)


def _configs(causal: Any) -> list[Any]:
    """The configurations that a model and its parts read while they compute."""
    configs = [causal.config, causal.config.get_text_config()]
    configs += [module.config for module in causal.modules() if hasattr(vars(module).get("config"), "model_type")]
    return list({id(config): config for config in configs}.values())


@contextmanager
def _perturbed(causal: Any, size: float) -> Iterator[None]:
    """Within this, every number of a token's embedding is larger or smaller by this share of it."""

    def perturb(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        signs = torch.randint(0, 2, output.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return (output * (1 + size * signs.to(output.device))).to(output.dtype)

    hook = causal.get_input_embeddings().register_forward_hook(perturb)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _random_state_kept(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _own_losses(model: Any, token_ids: torch.Tensor) -> torch.Tensor:
    """The losses of all tokens of a row [1, length] but the first [length - 1], in the plainest call of the model."""
    logits = model(input_ids=token_ids, use_cache=False).logits
    _check_shape(logits, token_ids)
    return cross_entropy(logits[0, :-1].float(), token_ids[0, 1:], reduction="none")


def _check_shape(logits: torch.Tensor, token_ids: torch.Tensor) -> None:
    if logits.shape[:2] != token_ids.shape:
        raise ValueError(f"logits of the shape {list(logits.shape)} for tokens of the shape {list(token_ids.shape)}")


def _cut_tokens(rows: Examples) -> list[Tokens]:
    """Three rows of the check: the first token and the last ones of a training row, of several where it is short.

    Each is turned further than the one before, so that they are not the same where training rows are.
    """
    filled = [place for place, number in enumerate(rows.lengths) if number]
    cut = []
    for turn, length in enumerate(_LENGTHS):
        start = turn * len(filled) // len(_LENGTHS)
        places = cycle([*filled[start:], *filled[:start]])
        tokens = rows.sequence(next(places))[0]
        while len(tokens) < length:
            tokens = np.concatenate([tokens, rows.sequence(next(places))[0]])
        cut.append(np.roll(np.concatenate([tokens[:1], tokens[1 - length :]]), 7 * turn))
    return cut


def _with_token(batch: MicroBatch, changed: slice, token: torch.Tensor) -> MicroBatch:
    other = batch.with_tokens(batch.token_ids.clone())
    other.token_ids[:, changed] = token
    return other


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__} ({(str(error).splitlines() or ['no message'])[0]})"
