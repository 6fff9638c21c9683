"""Train an adapter and publish it: everything is checked first, then the workers start, then one version appears.

with ray_session(ClusterConfig()):
    version = train(config, model, "helpdesk", storage, run, Reporter())
"""

import json
from pathlib import Path

from cluster.errors import TandemError
from cluster.models import digest_model
from cluster.registry import AdapterVersion
from cluster.runs import Run
from cluster.storage import Storage, write_atomically
from training.config import TrainingConfig, Workers
from training.data import check_rows, warn_of
from training.fit import Reporter, fit, num_gpus
from training.job import ADAPTER, HELD_OUT_ROWS, JOB, SUMMARY, TRAINED, TRAINING_ROWS, Job
from training.publish import fingerprint, publish, template_hash, write_trained
from training.tokenizer import load_tokenizer, longest_row

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
    from training.adapters import check_method
    from training.examples import Examples
    from training.plan import check_elastic, deepspeed_config
    from training.steps import Steps
    from training.template import encode_rows
    from training.watch import check_watching

    check_watching(config)
    settled = settle(config, model)
    check_elastic(settled)
    check_method(settled, num_gpus() > 0)
    report = check_rows(config)
    tokenizer = load_tokenizer(model)
    data = encode_rows(report, tokenizer, longest_row(config, model), config.max_bad_rows)
    warn_of(data.left_out)
    trained, held_out = data.split(config)
    rows = Examples.of_rows(trained)
    rows.save(folder / TRAINING_ROWS)
    Examples.of_rows(held_out).save(folder / HELD_OUT_ROWS)
    write_trained([each.row for each in trained], folder)
    job = Job(settled, model, folder, num_steps=len(Steps(rows, settled)))
    deepspeed_config(settled, settled.workers.max)
    prepared = {"job": job.to_dict(), "template_hash": template_hash(tokenizer), "prompt_hash": report.prompt_hash,
                "num_rows": len(trained), "fingerprint": fingerprint(config, model, digest_model(model))}  # fmt: skip
    write_atomically(folder / JOB, json.dumps(prepared, indent=2) + "\n")
    return job


def settle(config: TrainingConfig, model: str) -> TrainingConfig:
    """The settings with the ZeRO stage and the offload that fit the memory in the place of `auto`.

    Raises:
        TandemError: nothing fits, or not with `workers.min` any more.
    """
    from training.choose import choose, workers_device

    device, fewest = workers_device(config), config.workers.min
    chosen = choose(config, model, device)
    settled = config.model_copy(update={"zero_stage": chosen.zero_stage, "offload": chosen.offload})
    if fewest < config.workers.max:
        choose(settled.model_copy(update={"workers": Workers(min=fewest, max=fewest)}), model, device)
    return settled
