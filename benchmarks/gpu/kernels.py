"""The steps below a training: the machine, its matrix products, attention over packed rows, and the loss head."""

import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from benchmarks.gpu.bench import MIB, Bench
from benchmarks.gpu.models import LlamaShape, mixed_lengths, random_rows
from benchmarks.gpu.steps import Figure, Note, Reports, StepFailed, StepSkipped
from benchmarks.gpu.test_files import ROOT, gpu_test_files
from training.config import TrainingConfig
from training.data.micro_batch import MicroBatch, make_micro_batch
from training.model import attention
from training.model.model import load_model
from training.model.objective import make_objective

PACKAGES = ("deepspeed", "liger_kernel", "bitsandbytes", "peft", "transformers", "triton", "flash_attn", "trl")
OPTIONAL = {"deepspeed": "ZeRO and DeepSpeed's engine", "liger_kernel": "Liger's kernels", "bitsandbytes": "QLoRA"}


def machine(bench: Bench) -> Reports:
    """A0: driver, versions and the ceiling of bf16 matrix products."""
    yield Note(f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    for package in PACKAGES:
        yield Note(f"{package} {_version(package)}")
    for package, what in OPTIONAL.items():
        if _version(package) == "is absent":
            yield Note(f"without {package} nothing here measures {what}")
    yield Note(_varlen_features())
    if bench.is_cuda:
        yield from (Note(text) for text in _driver())
    size = 256 if bench.is_tiny else 8192
    a, b = (torch.randn(size, size, device=bench.device, dtype=bench.dtype) for _ in range(2))
    seconds = bench.milliseconds(lambda: a @ b, repeats=10) / 1e3
    yield Figure(f"{bench.precision} matrix product", "TFLOP/s", 2 * size**3 / seconds / 1e12)


def gpu_tests(bench: Bench) -> Reports:
    """A1: the tests marked `gpu`; on a CPU that they are collected and say why they are skipped."""
    # Those of the benchmarks run these very steps.
    files = [file for file in gpu_test_files() if not file.startswith("tests/benchmarks")]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-p", "no:cacheprovider", *files]
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    for word in ("passed", "failed", "skipped"):
        yield Figure(f"tests {word}", "tests", float(counts.get(word, 0)))
    if done.returncode:
        raise StepFailed(f"pytest ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}")
    if not bench.is_cuda and "needs a CUDA GPU" not in done.stdout:
        raise StepFailed("the tests do not say that they need a CUDA GPU")
    if bench.is_cuda and not counts.get("passed"):
        raise StepFailed("no test ran")


def attentions(bench: Bench) -> Reports:
    """A2: packed rows through each attention: error against fp32, forward and backward time, and peak memory."""
    sizes = (64, 128) if bench.is_tiny else (4096, 32768)
    heads, key_heads, width = (4, 2, 16) if bench.is_tiny else (32, 8, 128)
    for num_tokens in sizes:
        for kind, lengths in (
            ("short rows", _lengths_of(num_tokens, num_tokens // 32)),
            ("long rows", _lengths_of(num_tokens, num_tokens // 2)),
        ):
            rows = Packed(bench, lengths, heads, key_heads, width)
            # The reference holds scores in fp32 for one row at a time.
            expected = rows.reference() if num_tokens == sizes[0] else None
            for name, attend in rows.attentions().items():
                where = f"attention: {name}, {num_tokens} tokens, {kind}"
                yield from _measure(bench, where, partial(rows.gradients, attend), expected)
    if not bench.is_cuda:
        yield Note("torch's variable-length attention: skipped: needs CUDA")


class Packed:
    """Queries, keys and values of packed rows, [num_tokens, heads, width], and the attentions over them."""

    def __init__(self, bench: Bench, lengths: list[int], heads: int, key_heads: int, width: int) -> None:
        torch.manual_seed(0)
        self.bench, self.lengths = bench, lengths
        self.starts = torch.tensor([0, *accumulate(lengths)], device=bench.device)
        num_tokens = sum(lengths)
        self.tensors = [
            torch.randn(num_tokens, number, width, device=bench.device, dtype=bench.dtype, requires_grad=True)
            for number in (heads, key_heads, key_heads)
        ]
        self.ahead = torch.randn(num_tokens, heads, width, device=bench.device, dtype=bench.dtype)
        """The gradient of the output."""

    def attentions(self) -> dict[str, Callable[..., torch.Tensor]]:
        """The attentions that run here, by name."""
        choices: dict[str, Callable[..., torch.Tensor]] = {
            "tandem_packed": self._packed, "sdpa with a block mask": self._masked,
        }  # fmt: skip
        if self.bench.is_cuda and _has_varlen():
            choices["torch varlen"] = self._varlen
        return choices

    def gradients(self, attend: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        """The output and the gradients of queries, keys and values."""
        output = attend(*self.tensors)
        return [output.detach(), *torch.autograd.grad(output, self.tensors, self.ahead)]

    def reference(self) -> list[torch.Tensor]:
        """The same in fp32, row by row, with the scores written out."""
        parts = []
        for start, length in zip(self.starts.tolist(), self.lengths, strict=False):
            rows = slice(start, start + length)
            q, k, v = (each.detach()[rows].float().transpose(0, 1).requires_grad_() for each in self.tensors)
            repeats = q.shape[0] // k.shape[0]
            scores = q @ k.repeat_interleave(repeats, 0).mT * q.shape[-1] ** -0.5
            future = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
            output = scores.masked_fill(future, float("-inf")).softmax(-1) @ v.repeat_interleave(repeats, 0)
            gradients = torch.autograd.grad(output, (q, k, v), self.ahead[rows].float().transpose(0, 1))
            parts.append([each.detach().transpose(0, 1) for each in (output, *gradients)])
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _packed(self, *tensors: torch.Tensor) -> torch.Tensor:
        groups = attention.group_rows(self.starts)
        batch = (each.transpose(0, 1)[None] for each in tensors)
        return attention.packed_attention(torch.nn.Identity(), *batch, None, row_groups=groups)[0][0]

    def _masked(self, *tensors: torch.Tensor) -> torch.Tensor:
        """As transformers does it where the attention does not know of rows."""
        q, k, v = (each.transpose(0, 1)[None] for each in tensors)
        repeats = q.shape[1] // k.shape[1]
        row = torch.bucketize(torch.arange(q.shape[2], device=q.device), self.starts[1:], right=True)
        mask = (row[:, None] == row[None]).tril()
        k, v = (each.repeat_interleave(repeats, 1) for each in (k, v))
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1)

    def _varlen(self, *tensors: torch.Tensor) -> torch.Tensor:
        from torch.nn.attention.varlen import varlen_attn

        query, key, value = tensors
        known = inspect.signature(varlen_attn).parameters
        more: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
        if "enable_gqa" in known:
            more["enable_gqa"] = True
        else:
            key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
        starts, longest = self.starts.int(), max(self.lengths)
        return varlen_attn(query, key, value, starts, starts, longest, longest, **more)


def loss_heads(bench: Bench) -> Reports:
    """A3: from hidden states to the loss: time, memory, and the error of the gradient against fp32."""
    numbers = (32, 64) if bench.is_tiny else (4096, 16384, 32768)
    hidden, vocabulary = (32, 512) if bench.is_tiny else (4096, 128_256)
    weight = torch.randn(vocabulary, hidden, device=bench.device, dtype=bench.dtype) * hidden**-0.5
    for number in numbers:
        states = torch.randn(number, hidden, device=bench.device, dtype=bench.dtype, requires_grad=True)
        answers = torch.randint(vocabulary, (number,), device=bench.device)
        expected = _exact_gradient(states, weight, answers) if number == numbers[0] else None
        for name, loss in _heads().items():

            def gradients(loss: Any = loss, states: Any = states, answers: Any = answers) -> list[torch.Tensor]:
                return list(torch.autograd.grad(loss(states, weight, answers), states))

            where = f"loss: {name}, {number} answer tokens x {vocabulary}"
            yield from _measure(bench, where, gradients, None if expected is None else [expected])
    yield from _own_loss(bench, numbers, LlamaShape(hidden, 2 * hidden, 0, 4, 4, tied=True, vocabulary=vocabulary))
    if "Liger" not in " ".join(_heads()):
        yield Note("Liger's fused loss: skipped: the package liger_kernel or CUDA is absent")


def _own_loss(bench: Bench, numbers: tuple[int, ...], shape: LlamaShape) -> Reports:
    """Our loss as a training computes it: a model of a norm and a frozen head, whose norm is trained."""
    folder, _ = bench.model("head", shape.architecture())
    config = TrainingConfig(method="full", precision=bench.precision, liger=False, sequence_length=numbers[-1] + 1)
    model = load_model(str(folder), config, bench.device).requires_grad_(False)
    scale = model.model.norm.weight.requires_grad_()
    for number in numbers:
        batch = make_micro_batch(random_rows([number + 1], answer_share=1.0), (0,)).to(bench.device)

        def gradients(batch: MicroBatch = batch) -> list[torch.Tensor]:
            return list(torch.autograd.grad(make_objective(config).loss_sum(model, batch), scale))

        expected = None
        if number == numbers[0]:
            states = model.model.embed_tokens(batch.token_ids[0, :-1]).float()
            normed = states * (states.square().mean(-1, keepdim=True) + model.config.rms_norm_eps).rsqrt()
            exact = _exact_gradient(normed * scale.detach().float(), model.lm_head.weight.detach(), batch.answers)
            expected = [(normed * exact).sum(0)]
        yield from _measure(bench, f"loss: ours, {number} answer tokens x {shape.vocabulary}", gradients, expected)


def _heads() -> dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Losses summed over answer tokens, of hidden states [num_answers, hidden] and a frozen head."""
    heads = {"logits in fp32": _whole_logits}
    if _version("liger_kernel") != "is absent" and torch.cuda.is_available():
        heads["Liger fused"] = _liger
    return heads


def _whole_logits(states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    return cross_entropy((states @ weight.T).float(), answers, reduction="sum")


def _liger(states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(reduction="sum")(weight, states, answers)


def _exact_gradient(states: torch.Tensor, weight: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """The gradient of the states in fp32, a few tokens at a time."""
    wide, parts = weight.float(), []
    for some, right in zip(states.detach().float().split(512), answers.split(512), strict=True):
        shares = (some @ wide.T).softmax(-1)
        shares[torch.arange(len(right), device=right.device), right] -= 1
        parts.append(shares @ wide)
    return torch.cat(parts)


def _measure(
    bench: Bench, what: str, run: Callable[[], list[torch.Tensor]], expected: list[torch.Tensor] | None
) -> Reports:
    """Error against fp32, time and memory of a call; a note where the GPU is too small for it."""
    try:
        if expected is not None:
            # bf16 has 8 bits: what computes right is far below this, a wrong mask or token far above.
            yield Figure(f"error of {what}", "1", _relative_error(run(), expected), "<= 0.03")
        yield Figure(f"time of {what}", "ms", bench.milliseconds(run, repeats=3))
        peak = bench.peak_bytes(run)
        if bench.is_cuda:
            yield Figure(f"memory of {what}", "MiB", peak / MIB)
    except torch.OutOfMemoryError:
        yield Note(f"{what}: not enough memory on this GPU")


def _relative_error(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest ||found - expected|| / ||expected||."""
    pairs = zip(found, expected, strict=True)
    return max(float((ours.float() - right).norm() / right.norm()) for ours, right in pairs)


def _lengths_of(num_tokens: int, longest: int) -> list[int]:
    """Lengths of rows of up to `longest` tokens, the shortest first as in a pack, that come to `num_tokens`."""
    lengths: list[int] = []
    for length in mixed_lengths(num_tokens, longest):
        lengths.append(min(length, num_tokens - sum(lengths)))
        if sum(lengths) == num_tokens:
            break
    return sorted(lengths)


def _has_varlen() -> bool:
    return _varlen_features().startswith("torch.nn.attention.varlen has")


def _varlen_features() -> str:
    """What this torch's variable-length attention takes, in words."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return "torch.nn.attention.varlen is absent: this torch has no variable-length attention"
    known = inspect.signature(varlen_attn).parameters
    lacking = [name for name in ("window_size", "scale", "enable_gqa") if name not in known]
    rest = f", without {', '.join(lacking)}" if lacking else ", with windows, scale and grouped heads"
    return f"torch.nn.attention.varlen has varlen_attn{rest}"


def _driver() -> list[str]:
    device = torch.cuda.get_device_properties(0)
    lines = [f"{device.name}, capability {device.major}.{device.minor}, {device.total_memory / 2**30:.1f} GiB"]
    lines.append(f"NCCL {json.dumps(torch.cuda.nccl.version())}")
    for command in (["nvidia-smi", "--query-gpu=driver_version,memory.used", "--format=csv,noheader"], ["nvcc", "-V"]):
        if shutil.which(command[0]) is None:
            lines.append(f"{command[0]} is not on the PATH")
            continue
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        lines.append(f"{command[0]}: {(done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]}")
    return lines


def _version(package: str) -> str:
    import importlib.metadata
    import importlib.util

    if importlib.util.find_spec(package) is None:
        return "is absent"
    names = importlib.metadata.packages_distributions().get(package, [package])
    return importlib.metadata.version(names[0])


def require(package: str) -> None:
    """Skip the step where a package is absent."""
    if _version(package) == "is absent":
        raise StepSkipped(f"the package {package} is not installed")
