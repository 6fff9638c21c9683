"""Train an adapter and publish it: everything is checked first, then the workers start, then one version appears.

with ray_session(ClusterConfig()):
    version = train(config, model, "helpdesk", storage, run, Reporter())
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion
from cluster.storage.files import write_atomically
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from training.card import write_card
from training.config import TrainingConfig, Workers
from training.data import check_rows, warn_of
from training.fit import Reporter, fit, num_gpus
from training.job import ADAPTER, HELD_OUT_ROWS, JOB, METRICS, SUMMARY, TRAINED, TRAINING_ROWS, Job
from training.publish import digest_sources, fingerprint, publish, template_hash, write_trained
from training.tokenizer import load_tokenizer, longest_row
from training.watch import check_watching, read_metrics

__all__ = ["fingerprint", "resume", "train"]


def train(
    config: TrainingConfig, model: str, adapter: str, storage: Storage, run: Run, reporter: Reporter
) -> AdapterVersion:
    """Train `adapter` on `config.data` and publish it as a new version; inside an open Ray session.

    Raises:
        TandemError: bad rows, a model that cannot be loaded, settings that contradict each other, or a training that
            failed more often than `config.max_failures`. Nothing is published then, nor after KeyboardInterrupt.
    """
    if config.search:
        _check_search(run)
        return publish_run(_searched(config, model, run, reporter), config, model, adapter, storage)
    prepare(config, model, run.path)
    return resume(config, model, adapter, storage, run, reporter)


def _check_search(run: Run) -> None:
    if run.copy:
        raise TandemError(
            f"`training.search` is set, and storage is {run.copy.bucket.url}.",
            "A search on a folder that all nodes share: its trials write there.",
            "Set `storage` to such a folder for the search, or leave `training.search` out.",
        )


def _searched(config: TrainingConfig, model: str, run: Run, reporter: Reporter) -> Path:
    """The folder of the best of several trainings."""
    from training.search import FOLDER, candidates, search

    assert config.search is not None
    jobs, tried = [], candidates(config)
    for number, (_, settings) in enumerate(tried):
        folder = run.path / FOLDER / f"{run.id}-trial-{number + 1}"  # what is kept on nodes is named after it
        folder.mkdir(parents=True)
        jobs.append(prepare(settings, model, folder))
    return search(jobs, [named for named, _ in tried], config.search, reporter).folder


def resume(
    config: TrainingConfig, model: str, adapter: str, storage: Storage, run: Run, reporter: Reporter
) -> AdapterVersion:
    """Go on with a run that `prepare` has filled, from its last checkpoint if there is one, and publish the result.

    Raises:
        TandemError: as `train`.
    """
    prepared = json.loads((run.path / JOB).read_text())
    # The same weights, and the run's folder, may lie elsewhere by now: each job of a cluster has a working directory of
    # its own, and another machine has another copy.
    store = run.copy.bucket.url if run.copy else None
    job = replace(Job.of(prepared["job"]), model=model, folder=run.path, store=store)
    fit(job, reporter, copy=run.copy)
    check_ended_well(run.path)
    return publish_run(run.path, config, model, adapter, storage)


def check_ended_well(folder: Path) -> None:
    """Raises the TandemError that the workers of a training ended with, if they did."""
    summary = json.loads((folder / SUMMARY).read_text())
    if "error" in summary:
        (folder / SUMMARY).unlink()
        raise TandemError(*summary["error"])


def publish_run(folder: Path, config: TrainingConfig, model: str, adapter: str, storage: Storage) -> AdapterVersion:
    """Publish what a training that has ended left in its folder, with its model card.

    `config` is what was asked for, by which the version is found again; the job in the folder has what was chosen.
    """
    prepared, summary = (json.loads((folder / name).read_text()) for name in (JOB, SUMMARY))
    job, files = Job.of(prepared["job"]), folder / ADAPTER
    lines = read_metrics(folder / METRICS)
    metrics = {"num_rows": prepared["num_rows"], "num_steps": job.num_steps, **summary, "worker_s": worker_s(lines)}
    (files / TRAINED).write_bytes((folder / TRAINED).read_bytes())
    write_card(
        files, adapter, job.config, model=model, data_digest=digest_sources(config),
        lines=lines, metrics=metrics,
    )  # fmt: skip
    base_digest = digest_model(model)
    return publish(
        storage, adapter, files, job.config, model=model, base_digest=base_digest, metrics=metrics,
        fingerprint=fingerprint(config, model, base_digest), template=prepared["template_hash"],
        prompt_hash=prepared["prompt_hash"],
    )  # fmt: skip


def worker_s(lines: list[dict[str, Any]]) -> float:
    """Seconds that the steps took, of all workers together; loading a model and starting workers is not in them."""
    timed = (line for line in lines if line.get("tokens_per_s"))
    return float(round(sum(line["tokens"] / line["tokens_per_s"] * line["num_workers"] for line in timed), 3))


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
    """The settings with the ZeRO stage, the offload and the precision that suit the workers in the place of `auto`.

    Raises:
        TandemError: nothing fits, or not with `workers.min` any more.
    """
    from training.choose import choose, with_precision, workers_device

    device, fewest = workers_device(config), config.workers.min
    config = with_precision(config, device)
    chosen = choose(config, model, device)
    settled = config.model_copy(update={"zero_stage": chosen.zero_stage, "offload": chosen.offload})
    if fewest < config.workers.max:
        choose(settled.model_copy(update={"workers": Workers(min=fewest, max=fewest)}), model, device)
    return settled
