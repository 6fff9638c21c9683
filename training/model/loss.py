"""The loss of the answers' tokens, chunk by chunk: the logits of all of them never exist together.

A model runs as usual up to its output head. There the hidden states that predict an answer's token become losses, up
to `LOGIT_CHUNK_TOKENS` at a time, with whatever the model itself does to its logits behind the head (a scale, a soft
cap). The loop runs inside one call of the head, so that ZeRO-3 gathers the head's weights once in a forward pass and
once in a backward pass, however many chunks a rank has.

The gradient of a head that is frozen, as under an adapter, is computed along with the losses; a head that is trained is
computed again in the backward pass. `compare_losses` says whether a model's losses are the same as without chunks.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from training.config import LOGIT_CHUNK_TOKENS
from training.data.examples import Examples
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model.attention import attention_arguments

_UNCHUNKED: dict[type, str] = {}
"""Classes of models whose logits are computed together, each with the reason."""


class _ForwardPassDiffers(Exception):
    """The model does not call its output head as expected, or changes its logits in a way that needs the rest of it."""


def answer_losses(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Negative log-likelihood of each answer token in nats, [num_answers], in fp32."""
    if type(causal_model(model)) in _UNCHUNKED:
        return _unchunked_losses(model, batch)
    return _chunked_losses(model, batch, LOGIT_CHUNK_TOKENS)


def compare_losses(model: Any, rows: Examples, device: torch.device) -> str | None:
    """Compute the shortest row's losses with and without chunks; where they differ, use none for models of this class.

    Every rank must call it. Nothing is drawn at random.

    Returns:
        Why no chunks are used; None where they are.
    """
    shortest = min(range(len(rows)), key=lambda row: rows.row_lengths[row])
    batch = make_micro_batch(rows, (shortest,)).to(device)
    causal = causal_model(model)
    with evaluating(model), torch.no_grad():
        expected = _unchunked_losses(model, batch)
        try:
            losses = _chunked_losses(model, batch, max(1, len(expected) // 2))
        except torch.OutOfMemoryError:
            raise
        except (_ForwardPassDiffers, AttributeError, TypeError, ValueError, IndexError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        else:
            limit = max(1e-4, 4 * noise(model)) * (1 + expected.abs())
            if bool(((losses - expected).abs() <= limit).all()):
                _UNCHUNKED.pop(type(causal), None)
                return None
            reason = f"the losses differ by up to {float((losses - expected).abs().max()):.2g}"
    _UNCHUNKED[type(causal)] = (
        f"The logits of all answer tokens of {type(causal).__name__} are computed together, which takes more memory "
        f"than planned: in chunks the loss is not known to be right ({reason})."
    )
    return _UNCHUNKED[type(causal)]


def causal_model(model: Any) -> Any:
    """The model of transformers inside a DeepSpeed engine and an adapter."""
    module = getattr(model, "module", model)
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def noise(model: Any) -> float:
    """By how much a number may be rounded in the model's number format, relative to it."""
    # Weights in 4 bits are stored as integers.
    return float(torch.finfo(next(each.dtype for each in model.parameters() if each.is_floating_point())).eps)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """A model without dropout."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _unchunked_losses(model: Any, batch: MicroBatch) -> torch.Tensor:
    num_rows, length = batch.token_ids.shape
    arguments = model_arguments(model, batch)
    # Padded rows are asked for the columns that any of them answers in.
    columns = batch.predicts_from if num_rows == 1 else (batch.predicts_from % length).unique()
    if "logits_to_keep" in inspect.signature(causal_model(model).forward).parameters:
        arguments["logits_to_keep"] = columns
    logits = model(**arguments).logits
    if "logits_to_keep" not in arguments:
        logits = logits[:, columns]
    own_columns = torch.searchsorted(columns, batch.predicts_from % length)
    return cross_entropy(logits[batch.predicts_from // length, own_columns].float(), batch.answers, reduction="none")


def _chunked_losses(model: Any, batch: MicroBatch, chunk_tokens: int) -> torch.Tensor:
    with _losses_as_output(causal_model(model), batch, chunk_tokens):
        losses: torch.Tensor = model(**model_arguments(model, batch))
    return losses


def model_arguments(model: Any, batch: MicroBatch) -> dict[str, Any]:
    config = causal_model(model).config
    return {
        "input_ids": batch.token_ids,
        "position_ids": batch.positions,
        "use_cache": False,
        **attention_arguments(config._attn_implementation, batch),
    }


@contextmanager
def _losses_as_output(causal: Any, batch: MicroBatch, chunk_tokens: int) -> Iterator[None]:
    """Within this, a model's head and the model itself return losses; hooks of DeepSpeed see them pass through both."""
    head = causal.get_output_embeddings()
    name = next((name for name, child in causal._modules.items() if child is head), None)
    if head is None or name is None:
        raise _ForwardPassDiffers("it has no output head of its own")
    loss = _TokenLoss(head.forward, _LogitTail(causal, head), _trained_parameters(causal, head), chunk_tokens)
    forward = causal.forward
    outputs: list[torch.Tensor] = []

    def run_head(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.shape[:2] != batch.token_ids.shape:
            raise _ForwardPassDiffers("its output head sees other places than the tokens'")
        states = hidden.flatten(0, 1).index_select(0, batch.predicts_from)
        return loss.compute(states, batch.answers)[None, :, None]

    def run_model(*args: Any, **kwargs: Any) -> torch.Tensor:
        forward(*args, **kwargs)
        if len(outputs) != 1:
            raise _ForwardPassDiffers(f"it calls its output head {len(outputs)} times")
        return outputs[0].flatten()

    # Outside the head, the output has passed all hooks of DeepSpeed, which gather weights and reduce gradients later.
    causal._modules[name] = _Watched(head, outputs)
    try:
        with _replaced_forward(head, run_head), _replaced_forward(causal, run_model):
            yield
    finally:
        causal._modules[name] = head


class _Watched(torch.nn.Module):  # type: ignore[misc]
    """Calls a module and keeps what it returns."""

    def __init__(self, module: torch.nn.Module, outputs: list[torch.Tensor]) -> None:
        super().__init__()
        self.module, self.outputs = module, outputs

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.outputs.append(self.module(*args, **kwargs))
        return self.outputs[-1]

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name == "module" else getattr(self.module, name)


@contextmanager
def _replaced_forward(module: Any, forward: Callable[..., torch.Tensor]) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _trained_parameters(causal: Any, head: Any) -> list[torch.nn.Parameter]:
    """Those that logits depend on once the hidden states are given."""
    parameters = {id(parameter): parameter for parameter in (*head.parameters(), *causal.parameters(recurse=False))}
    return [parameter for parameter in parameters.values() if parameter.requires_grad]


@dataclass(frozen=True)
class _TokenLoss:
    """Hidden states to losses.

    Attributes:
        head: hidden states [1, num_tokens, hidden] to what the head gives, [1, num_tokens, vocabulary].
        tail: this to logits of the same shape.
        trained: the parameters that are trained of both.
    """

    head: Callable[[torch.Tensor], torch.Tensor]
    tail: Callable[[torch.Tensor], torch.Tensor]
    trained: list[torch.nn.Parameter]
    chunk_tokens: int

    def compute(self, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """[num_answers, hidden] and [num_answers] to [num_answers]; chunk by chunk."""
        if not torch.is_grad_enabled() or not (states.requires_grad or self.trained):
            return torch.cat([self.of_chunk(*chunk) for chunk in self.chunks(states, answers)])
        kind = _TrainedHead if self.trained else _FrozenHead
        losses: torch.Tensor = kind.apply(self, states, answers, *self.trained)
        return losses

    def chunks(self, *tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """At least one, which is empty where there are no answers."""
        return list(zip(*(tensor.split(self.chunk_tokens) for tensor in tensors), strict=True))

    def of_chunk(self, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        logits = self.tail(self.head(states[None]))
        return cross_entropy(logits[0].float(), answers, reduction="none")


class _FrozenHead(torch.autograd.Function):  # type: ignore[misc]
    """A token's loss depends on its own hidden state alone: the gradient is computed at once, and scaled later."""

    @staticmethod
    def forward(ctx: Any, loss: _TokenLoss, states: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        losses, gradients = [], []
        for chunk, chunk_answers in loss.chunks(states, answers):
            with torch.enable_grad():
                leaf = chunk.detach().requires_grad_()
                chunk_losses = loss.of_chunk(leaf, chunk_answers)
                gradients += torch.autograd.grad(chunk_losses.sum(), leaf)
            losses.append(chunk_losses.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
        (gradients,) = ctx.saved_tensors
        return None, (scale[:, None] * gradients).to(gradients.dtype), None


class _TrainedHead(torch.autograd.Function):  # type: ignore[misc]
    """Logits are computed again in the backward pass, and the weights' gradients summed over the chunks in fp32."""

    @staticmethod
    def forward(
        ctx: Any, loss: _TokenLoss, states: torch.Tensor, answers: torch.Tensor, *trained: torch.nn.Parameter
    ) -> torch.Tensor:
        ctx.loss, ctx.random = loss, _random_state(states.device)
        ctx.save_for_backward(states, answers)
        return torch.cat([loss.of_chunk(*chunk) for chunk in loss.chunks(states.detach(), answers)])

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
        loss: _TokenLoss = ctx.loss
        states, answers = ctx.saved_tensors
        state_gradients: list[torch.Tensor] = []
        sums: list[torch.Tensor | None] = [None] * len(loss.trained)
        with _drawn_again(ctx.random, states.device):
            for chunk, chunk_answers, chunk_scale in loss.chunks(states, answers, scale):
                with torch.enable_grad():
                    leaf = chunk.detach().requires_grad_()
                    losses = loss.of_chunk(leaf, chunk_answers)
                    own, *gradients = torch.autograd.grad(losses, (leaf, *loss.trained), chunk_scale, allow_unused=True)
                state_gradients.append(own)
                sums = [_add(total, gradient) for total, gradient in zip(sums, gradients, strict=True)]
                del gradients  # as large as the head; the next chunk needs the room
        parameters = (
            None if total is None else total.to(parameter.dtype)
            for total, parameter in zip(sums, loss.trained, strict=True)
        )
        return None, torch.cat(state_gradients), None, *parameters


def _add(total: torch.Tensor | None, gradient: torch.Tensor | None) -> torch.Tensor | None:
    """The first one as it is, in its own format; the sum of several in fp32."""
    if total is None or gradient is None:
        return gradient if total is None else total
    return total.add_(gradient) if total.dtype == torch.float32 else total.float().add_(gradient)


def _random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _drawn_again(state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> Iterator[None]:
    """Within this, dropout draws what it drew after `state`."""
    cpu, cuda = state
    with torch.random.fork_rng([device] if cuda is not None else []):
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        yield


class _LogitTail:
    """What a model does to the output of its head, by its own code: a copy of it with nothing but that left to do."""

    def __init__(self, causal: Any, head: Any) -> None:
        self._head = _GivenOutput(head)
        # With accelerate's hooks, as on a model in 4 bits, the instance's forward is no method.
        self._forward = getattr(causal.forward, "__func__", type(causal).forward)
        self._rest = object.__new__(type(causal))
        self._rest.__dict__.update(causal.__dict__)
        self._rest.__dict__["_modules"] = {
            name: self._head if child is head else _NoBody() for name, child in causal._modules.items()
        }

    def __call__(self, head_output: torch.Tensor) -> torch.Tensor:
        """[1, num_tokens, vocabulary] to logits of the same shape."""
        self._head.output = head_output
        tokens = torch.zeros(head_output.shape[:2], dtype=torch.long, device=head_output.device)
        try:
            logits: torch.Tensor = self._forward(self._rest, input_ids=tokens, use_cache=False).logits
        finally:
            self._head.output = None
        if logits.shape != head_output.shape:
            raise _ForwardPassDiffers("it changes the number of its logits behind the output head")
        return logits


class _GivenOutput:
    """Takes the place of the head: its output is given."""

    def __init__(self, head: Any) -> None:
        self._head, self.output = head, None

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self.output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._head, name)


class _NoBody:
    """Takes the place of every module but the head: its output is empty hidden states, and nothing else."""

    def __getattr__(self, name: str) -> "_NoBody":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, input_ids: torch.Tensor | None = None, **_: Any) -> "_NoOutput":
        tokens = args[0] if input_ids is None else input_ids
        return _NoOutput(tokens.new_zeros(*tokens.shape[:2], 1, dtype=torch.float32))


class _NoOutput:
    """A model output with its hidden states alone."""

    def __init__(self, last_hidden_state: torch.Tensor) -> None:
        self.last_hidden_state = last_hidden_state

    def __getitem__(self, key: Any) -> Any:
        return self.last_hidden_state if key == 0 else ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
