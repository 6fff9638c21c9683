"""Train an adapter and publish it: everything is checked first, then the workers start, then one version appears.

with ray_session(ClusterConfig()):
    version = train(config, model, "helpdesk", storage, run, Reporter())
"""

import json
from pathlib import Path
from random import Random
from typing import Any

from cluster.errors import TandemError
from cluster.models import digest_model, find_model
from cluster.registry import AdapterVersion
from cluster.runs import Run
from cluster.storage import Storage, write_atomically
from training.config import TrainingConfig
from training.data import check_rows
from training.fit import Reporter, fit
from training.job import ADAPTER, HELD_OUT_ROWS, JOB, SUMMARY, TRAINED, TRAINING_ROWS, Job
from training.publish import fingerprint, publish, template_hash, write_trained

__all__ = ["fingerprint", "resume", "train"]


def train(
    config: TrainingConfig, model: str, adapter: str, storage: Storage, run: Run, reporter: Reporter
) -> AdapterVersion:
    """Train `adapter` on `config.data` and publish it as a new version; inside an open Ray session.

    Raises:
        TandemError: bad rows, a model that cannot be loaded, settings that contradict each other, or a training that
            failed more often than `config.max_failures`. Nothing is published then, nor after KeyboardInterrupt.
    """
    prepare(config, model, run.path)
    return resume(config, model, adapter, storage, run, reporter)


def resume(
    config: TrainingConfig, model: str, adapter: str, storage: Storage, run: Run, reporter: Reporter
) -> AdapterVersion:
    """Go on with a run that `prepare` has filled, from its last checkpoint if there is one, and publish the result.

    Raises:
        TandemError: as `train`.
    """
    prepared = json.loads((run.path / JOB).read_text())
    job = Job.of(prepared["job"])
    fit(job, reporter)
    summary = json.loads((run.path / SUMMARY).read_text())
    if "error" in summary:
        (run.path / SUMMARY).unlink()
        raise TandemError(*summary["error"])
    (run.path / ADAPTER / TRAINED).write_bytes((run.path / TRAINED).read_bytes())
    return publish(
        storage, adapter, run.path / ADAPTER, config, model=model, base_digest=digest_model(model),
        template=prepared["template_hash"], prompt_hash=prepared["prompt_hash"],
        metrics={"num_rows": prepared["num_rows"], "num_steps": job.num_steps, **summary},
    )  # fmt: skip


def prepare(config: TrainingConfig, model: str, folder: Path) -> Job:
    """Check and encode every row, set some aside, and count the steps; no worker is needed for it.

    Leaves the encoded rows, `trained.jsonl` and `job.json` in the run folder: all that a run needs to be gone on with.

    Raises:
        TandemError: as `train`.
    """
    from training.examples import Examples
    from training.plan import check_elastic, deepspeed_config
    from training.steps import Steps
    from training.template import encode_rows

    settled = settle(config, model)
    check_elastic(settled)
    report = check_rows(_data(config))
    tokenizer = _load_tokenizer(model)
    examples = encode_rows(report, tokenizer, min(config.sequence_length, _max_positions(model)))
    kept_out = held_out_rows(config, len(examples))
    trained = [number for number in range(len(examples)) if number not in kept_out]
    rows = Examples.of([examples[number] for number in trained])
    rows.save(folder / TRAINING_ROWS)
    Examples.of([examples[number] for number in sorted(kept_out)]).save(folder / HELD_OUT_ROWS)
    write_trained([report.rows[number] for number in trained], folder)
    job = Job(settled, model, folder, num_steps=len(Steps(rows, settled)))
    deepspeed_config(settled, job.num_steps, settled.workers.max)
    prepared = {"job": job.to_dict(), "template_hash": template_hash(tokenizer), "prompt_hash": report.prompt_hash,
                "num_rows": len(trained), "fingerprint": fingerprint(config, model, digest_model(model))}  # fmt: skip
    write_atomically(folder / JOB, json.dumps(prepared, indent=2) + "\n")
    return job


def settle(config: TrainingConfig, model: str) -> TrainingConfig:
    """The settings with a ZeRO stage and an offload in the place of `auto`."""
    stage = 2 if config.zero_stage == "auto" else config.zero_stage
    offload = "none" if config.offload == "auto" else config.offload
    return config.model_copy(update={"zero_stage": stage, "offload": offload})


def held_out_rows(config: TrainingConfig, num_rows: int) -> set[int]:
    """The rows that are not trained on, drawn by the seed: the asked share, at least one, never the last one left."""
    if config.held_out == 0 or num_rows < 2:
        return set()
    number = min(num_rows - 1, max(1, round(config.held_out * num_rows)))
    return set(Random(f"held-out-{config.seed}").sample(range(num_rows), number))


def _data(config: TrainingConfig) -> Path:
    if not config.data or config.data[0].path is None:
        raise TandemError(
            "The project names no training data.",
            "`training.data`: a JSONL file with chat messages or prompt and completion.",
            "Name one.",
        )
    return config.data[0].path


def _load_tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    find_model(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The tokenizer of {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A model with a fast tokenizer, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error
    if not tokenizer.chat_template:
        raise TandemError(
            f"The model {model} has no chat template.",
            "A model that was made for chat, or a tokenizer with a `chat_template`.",
            "Name an instruct model, or put chat_template.jinja beside the tokenizer.",
        )
    return tokenizer


def _max_positions(model: str) -> int:
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else 1 << 30
