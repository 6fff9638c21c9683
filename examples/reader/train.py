"""Train the reader from scratch on generated passages: tokenizer, starting weights, training, checkpoints.

    python -m examples.reader.train --out runs/reader --minutes 60

Each worker is one process with one thread and its own chats; gradients are summed once a step. On a busy machine that
is far faster than threads, which wait for each other at every operation. The seed fixes the tokenizer, the starting
weights and the order of chats; how many steps fit into the minutes depends on the machine.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from examples.reader.batches import Batch, Batcher
from examples.reader.evaluate import measure
from examples.reader.forward import hidden_states
from examples.reader.model import build_model
from examples.reader.passages import Spec
from examples.reader.tokenizer import train_tokenizer

# Many questions about the same passages in one chat: each is a chance to learn from the same reading.
LEVELS = (
    Spec(num_passages=(1, 1), num_facts=(2, 3), num_turns=4),
    Spec(num_passages=(1, 2), num_facts=(2, 4), num_turns=6),
    Spec(num_passages=(2, 3), num_facts=(2, 5), num_turns=8),
    Spec(num_passages=(1, 5), num_facts=(3, 6), num_turns=10),
)
_CHECK_SECONDS = 75
_MASTERED = 0.85  # share of right values at which the next level begins


def main() -> None:
    """Read the command line and start the workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints go")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--lr", type=float, default=2.5e-3, help="of Muon; embeddings and norms get a third of it")
    parser.add_argument("--tokens", type=int, default=2500, help="of each worker in each step")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--level", type=int, default=1, help="where to start in LEVELS")
    parser.add_argument("--repeat-weight", type=float, default=0.2, help="loss weight of repetitions in passages")
    parser.add_argument("--resume", type=Path, help="go on from the weights and tokenizer of this folder")
    parser.add_argument("--warm-up", type=int, default=30, help="steps")
    parser.add_argument("--decay", type=float, default=0.6, help="last share of the time, over which the rate falls")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_worker, (args, f"{folder}/store"), nprocs=args.workers)


def _worker(rank: int, args: argparse.Namespace, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=args.workers)
    if args.resume:
        tokenizer = AutoTokenizer.from_pretrained(args.resume)
        model = AutoModelForCausalLM.from_pretrained(args.resume, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(seed=args.seed)
        model = build_model(tokenizer, seed=args.seed)
    train(model, tokenizer, args, rank)
    if not rank:
        save(model, tokenizer, args.out)
    dist.destroy_process_group()


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, args: argparse.Namespace, rank: int) -> None:
    """Step until the minutes are over; worker 0 keeps the clock, measures, saves and raises the level."""
    batcher = Batcher(tokenizer, args.seed * 1000 + rank, args.repeat_weight)
    muon, adam = optimizers(model)
    start = last_check = time.monotonic()
    level, step, spent = args.level, 0, 0.0
    losses: list[float] = []
    while spent < args.minutes:
        weight, loss = backward(model, batcher.draw(*mixture(level), args.tokens, 2))
        clock = (0.0, 0.0) if rank else ((time.monotonic() - start) / 60, float(level))
        weight, loss, spent, shared_level = _share(model, [weight, loss, *clock])
        level = int(shared_level)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scale = min(1.0, (step + 1) / args.warm_up, max(0.01, (1 - spent / args.minutes) / args.decay))
        for optimizer, factor in ((muon, 1.0), (adam, 1 / 3)):
            optimizer.param_groups[0]["lr"] = args.lr * scale * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        losses.append(loss / weight)
        if not rank and step % 20 == 0:
            print(f"{spent:5.1f} min  step {step}  level {level}  loss {sum(losses[-20:]) / 20:.4f}", flush=True)
        if not rank and time.monotonic() - last_check > _CHECK_SECONDS:
            last_check = time.monotonic()
            level += _check(model, tokenizer, args.out, level, step)


def backward(model: LlamaForCausalLM, batches: list[Batch]) -> tuple[float, float]:
    """Add the gradients of the weighted loss; return the sums of weights and of weighted losses."""
    weight = loss = 0.0
    for batch in batches:
        wanted = batch.weights[:, 1:] > 0  # logits only where something is to be learnt
        hidden = hidden_states(model, batch.ids)[:, :-1][wanted]
        logits = F.linear(hidden, model.model.embed_tokens.weight.bfloat16()).float()
        each = F.cross_entropy(logits, batch.ids[:, 1:][wanted], reduction="none")
        part = (each * batch.weights[:, 1:][wanted]).sum()
        part.backward()
        weight += float(batch.weights[:, 1:].sum())
        loss += float(part.detach())
    return weight, loss


def mixture(level: int) -> tuple[list[Spec], list[float]]:
    """What to draw at a level, with weights: its own chats, neighbouring levels, and nothing to read at all."""
    own = LEVELS[level]
    specs = [own, replace(own, num_turns=2), Spec(num_passages=(0, 0)), Spec(no_system=1.0, num_turns=2)]
    weights = [0.7, 0.14, 0.03, 0.05]
    for other in (level - 1, level + 1):
        if 0 <= other < len(LEVELS):
            specs.append(LEVELS[other])
            weights.append(0.15)
    return specs, weights


def optimizers(model: LlamaForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(inner, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return muon, torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.98))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the model in bfloat16 with its tokenizer, as transformers and vLLM load it."""
    small = copy.deepcopy(model).to(torch.bfloat16)
    small.generation_config.bos_token_id = tokenizer.bos_token_id
    small.generation_config.eos_token_id = tokenizer.eos_token_id
    small.generation_config.pad_token_id = tokenizer.pad_token_id
    small.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _check(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path, level: int, step: int) -> int:
    """Measure and save; 1 if the level is mastered and there is a next one, else 0."""
    scores = measure(model, tokenizer, replace(LEVELS[level], num_turns=4), 32, seed=step)
    print("         ", {name: round(score, 3) for name, score in scores.items()}, flush=True)
    save(model, tokenizer, out)
    return int(scores["value"] > _MASTERED and level < len(LEVELS) - 1)


def _share(model: LlamaForCausalLM, facts: list[float]) -> list[float]:
    """Sum gradients and `facts` over the workers, then divide the gradients by the first fact, the weights."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), torch.tensor(facts)])
    dist.all_reduce(flat)
    sums: list[float] = flat[-len(facts) :].tolist()
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient)).div_(sums[0])
        at += gradient.numel()
    return sums


if __name__ == "__main__":
    main()
