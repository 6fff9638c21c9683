"""Memory and time of the loss: logits of all answer tokens at once against chunks, at a vocabulary of 128,256.

python -m benchmarks.loss_memory

A Llama of one layer and a hidden size of 128 keeps everything but the head small; every token is an answer's. Each case
is a process, whose peak is what it holds beyond the loaded model in one forward and backward pass. Where the
machine has not the memory that the plan says, a case is left out and named.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import results
from cluster.hardware import available_bytes
from training.config import LOGIT_CHUNK_TOKENS, TrainingConfig

VOCABULARY = 128_256
NUM_TOKENS = (4096, 16384, 32768)
ROW_TOKENS = 512
SHAPE = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCABULARY,
}  # fmt: skip
GIB = 2**30


def measure(num_tokens: int, precision: str, head: str, kind: str) -> dict[str, float]:
    """One case in this process: the peak beyond the model, in bytes, and the CPU seconds."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from training.data.answer_masks import Example
    from training.data.examples import Examples
    from training.data.micro_batch import make_micro_batch
    from training.model import loss
    from training.model.attention import PACKED_ATTENTION, register_attentions
    from training.model.model import DTYPES

    torch.manual_seed(0)
    register_attentions()
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("llama", **SHAPE), attn_implementation=PACKED_ATTENTION, dtype=DTYPES[precision]
    )
    model.get_output_embeddings().requires_grad_(head == "trained")
    row = Example(list(range(8, 8 + ROW_TOKENS)), [False] + [True] * (ROW_TOKENS - 1))
    rows = Examples.from_sequences([row] * (num_tokens // ROW_TOKENS))
    batch = make_micro_batch(rows, tuple(range(len(rows))))
    losses = loss.answer_losses if kind == "chunks" else loss._unchunked_losses
    losses(model, make_micro_batch(rows, ())).sum().backward()  # starts threads and libraries
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    began = time.process_time()
    losses(model, batch).sum().backward()
    return {"peak_bytes": _memory("VmHWM") - before, "seconds": time.process_time() - began}


def planned_bytes(num_tokens: int, precision: str, head: str, kind: str) -> int:
    """What the memory plan counts for logits."""
    from transformers import AutoConfig

    from training.plan.memory import MemorySetup, estimate_memory, memory_setup
    from training.plan.shapes import read_model_shapes

    config = TrainingConfig(
        method="full" if head == "trained" else "lora", precision=precision, micro_batch_size=1,
        sequence_length=num_tokens, workers=1,
    )  # fmt: skip
    setup = memory_setup(config, 0, "none")
    if kind == "at once":
        setup = MemorySetup(**{**vars(setup), "logit_tokens": None, "answer_tokens": 0})
    return estimate_memory(read_model_shapes(config, AutoConfig.for_model("llama", **SHAPE)), setup).logits


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _run(*case: Any) -> dict[str, float] | None:
    """A case in a process of its own; None where the machine has not the memory."""
    if planned_bytes(*case) * 1.15 + 2 * GIB > available_bytes():
        print(case, "left out", flush=True)
        return None
    command = [sys.executable, "-m", "benchmarks.loss_memory", "--case", json.dumps(case)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(case, f"{found['peak_bytes'] / GIB:.2f} GiB, {found['seconds']:.1f} s", flush=True)
    return found


def main() -> None:
    """Measure every case that the machine has room for, and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case")
    if chosen := parser.parse_args().case:
        print(json.dumps(measure(*json.loads(chosen))))
        return
    rows, left_out = [], []
    for precision, head in (("bf16", "frozen"), ("fp32", "trained")):
        chunks = {tokens: _run(tokens, precision, head, "chunks") for tokens in NUM_TOKENS}
        for tokens, found in chunks.items():
            name = f"{tokens} answer tokens, {precision}, {head} head"
            at_once = _run(tokens, precision, head, "at once")
            if found is None or at_once is None:
                left_out.append(name)
            if found is None:
                continue
            gib, planned = found["peak_bytes"] / GIB, planned_bytes(tokens, precision, head, "chunks") / GIB
            rows.append(results.ratio_row(f"peak against the plan: {name}", "GiB", gib, planned, "the plan's logits"))
            if at_once:
                baseline = at_once["peak_bytes"] / GIB
                rows.append(results.ratio_row(f"peak: {name}", "GiB", gib, baseline, "logits at once", "<= 0.5"))
                seconds = found["seconds"], at_once["seconds"]
                rows.append(results.ratio_row(f"CPU time: {name}", "s", *seconds, "logits at once"))
        peaks = [each["peak_bytes"] for each in chunks.values() if each]
        growth = max((later / earlier for earlier, later in pairwise(peaks)), default=0.0)
        rows.append(results.row(f"largest growth of the peak from size to size: {precision}, {head} head", "times",
                                growth, "<= 1.5"))  # fmt: skip
    notes = (
        f"One forward and backward pass on a CPU, in chunks of {LOGIT_CHUNK_TOKENS} tokens; vocabulary {VOCABULARY}, "
        "hidden size 128, one layer, whose activations are in the peak and not in the plan's figure for logits. The "
        "peak is of a process, beyond what it held before the pass. Not measured for want of memory, with all logits "
        f"at once: {'; '.join(left_out) or 'nothing'}. No GPU was used."
    )
    print(results.write("loss-memory", rows, notes))


if __name__ == "__main__":
    main()
