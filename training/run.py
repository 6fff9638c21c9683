"""Train an adapter and publish it: everything is checked first, then the workers start, then one version appears.

with ray_session(ClusterConfig()):
    version = train(config, model, "helpdesk", storage, run, Reporter())

`find_interrupted` names the run that `tandem train --resume` resumes.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.full_disk import full_disk_explained
from cluster.gpu_requirements import check_gpus_usable
from cluster.hardware import Hardware, read_hardware
from cluster.registry.registry import AdapterVersion
from cluster.storage.files import write_atomically
from cluster.storage.runs import Run, run_status
from cluster.storage.storage import Storage
from training.config import TrainingConfig, WorkerRange
from training.data.batches import OptimizerSteps, max_pass_tokens
from training.data.examples import Examples
from training.data.objectives import check_both_labels
from training.data.progress import Report
from training.data.rows import DataReport, check_rows, log_unused_keys, warn_of_left_out_rows
from training.data.templates.learnt_ends import served_ends
from training.data.templates.template_check import TemplateCheck, warn_of_template
from training.data.tokenize import encode_rows, load_tokenizer, max_row_tokens
from training.model.base_weights import check_base_weights
from training.model.lora import check_method
from training.plan.deepspeed_config import check_elastic_workers, deepspeed_config
from training.plan.placement import (
    Placement,
    gpus_per_worker,
    place_workers,
    resolve_workers,
    training_kind,
    workers_device,
)
from training.plan.zero_stage import choose_zero_stage, resolve_precision
from training.publish.generation_config import write_generation_config
from training.publish.model_card import write_model_card
from training.publish.publish import (
    NO_TEMPLATE,
    digest_sources,
    known_fingerprints,
    publish_version,
    template_hash,
    trained_fingerprint,
    write_trained_rows,
)
from training.trainer.fit import TrainingReporter, run_job
from training.trainer.job import (
    ADAPTER_FOLDER,
    HELD_OUT_ROWS_FILE,
    JOB_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    TRAINED_ROWS_FILE,
    TRAINING_ROWS_FILE,
    TrainingJob,
    check_evaluations,
)
from training.trainer.metrics import read_metrics
from training.trainer.trackers import check_trackers_installed
from training.trainer.worker_errors import MAKE_ROOM
from training.tune import NUM_EVALUATIONS, TRIALS_FOLDER, TUNE_AGAIN, check_same_held_out, run_trials, trial_configs

GPU_NODE_S = 1800.0
"""How long a training waits for the first GPU node of an autoscaler."""


def run_training(
    config: TrainingConfig,
    model: str,
    adapter: str,
    storage: Storage,
    run: Run,
    reporter: TrainingReporter,
    data: DataReport | None = None,
) -> AdapterVersion:
    """Train `adapter` on `config.data` and publish it as a new version; inside an open Ray session.

    Args:
        data: the result of `check_rows(config)`; the rows are read here where it is not given.

    Raises:
        TandemError: bad rows, a model that cannot be loaded, settings that contradict each other, or a training that
            failed more often than `config.max_failures`. Nothing is published then, nor after KeyboardInterrupt.
    """
    if config.tune:
        _check_tuning_storage(run)
        with full_disk_explained(run.path, TUNE_AGAIN):
            return publish_run(_tune(config, model, run, reporter, data), config, model, adapter, storage)
    with full_disk_explained(run.path, "Make room there, and run `tandem train` again."):
        prepare_run(config, model, run.path, data, find_hardware(config, reporter), progress=reporter.progress)
    return resume_training(config, model, adapter, storage, run, reporter)


def resume_training(
    config: TrainingConfig, model: str, adapter: str, storage: Storage, run: Run, reporter: TrainingReporter
) -> AdapterVersion:
    """Resume a run that `prepare_run` has filled, from its last checkpoint if there is one, and publish the result.

    Where the workers have ended and only the publishing failed, no worker is started again.

    Raises:
        TandemError: as `train`.
    """
    with full_disk_explained(run.path, MAKE_ROOM):
        if not _has_ended(run.path):
            _run_workers(model, run, reporter)
        return publish_run(run.path, config, model, adapter, storage)


def _run_workers(model: str, run: Run, reporter: TrainingReporter) -> None:
    prepared = json.loads((run.path / JOB_FILE).read_text())
    # The base weights and the run's folder may have moved: each job of a cluster has its own working directory, and
    # another machine has another copy.
    store = run.copy.bucket.url if run.copy else None
    job = replace(TrainingJob.from_dict(prepared["job"]), model=model, folder=run.path, store=store)
    if job.placement.kind == "gpu" or "placement" not in prepared["job"]:  # nodes may have come and gone
        job = replace(job, placement=_place_again(job, find_hardware(job.config, reporter)))
    run_job(job, reporter, copy=run.copy)
    raise_workers_error(run.path)


def _place_again(job: TrainingJob, hardware: Hardware) -> Placement:
    """Raises TandemError where the GPUs that a training ran on are no longer there."""
    workers, on = job.config.workers, " on GPUs" if job.placement.kind == "gpu" else ""
    try:
        placement = place_workers(job.config, hardware)
    except TandemError as error:
        raise TandemError(
            f"The training was started with {workers.min} workers{on}, and cannot be resumed here: {error.seen}",
            f"Room for {workers.min} workers; their number decides the batches and stays what it was.",
            "Run `tandem train --resume` where there are so many, or start a new training with `tandem train`.",
        ) from error
    if (job.placement.kind, placement.kind) == ("gpu", "cpu"):
        raise TandemError(
            "The training ran on GPUs, and there are none now.",
            "The kind of machine that it was started on: a training never moves to CPUs by itself.",
            "Run `tandem train --resume` where there are GPUs, or start a new training with `tandem train`.",
        )
    return placement


def find_interrupted(
    folder: Path, config: TrainingConfig, model: str, base_digest: str, storage: Storage | None = None
) -> Run:
    """The newest run below `folder` that began to train and did not finish, opened again.

    Raises:
        TandemError: the project tunes, no such run exists, its command still runs, or data or settings have changed
            since it was started.
    """
    check_resumable(config)
    runs = [path.parent for path in folder.glob(f"*/{JOB_FILE}") if run_status(path.parent) != "done"]
    if not runs:
        raise TandemError(
            f"There is no training below {folder} that did not end.",
            "A training that was interrupted, or whose machine went down.",
            "Start one with `tandem train`.",
        )
    newest = max(runs, key=lambda run: (run / JOB_FILE).stat().st_mtime)
    prepared = json.loads((newest / JOB_FILE).read_text())
    if prepared["fingerprint"] not in known_fingerprints(config, model, base_digest):
        raise TandemError(
            f"The training {newest.name} was started with other data, settings, packages or another model.",
            "What it was started with: the settings are in its config.yaml.",
            "Put them back to resume it, or start a new training with `tandem train`.",
        )
    return Run.reopen(newest, storage)


def check_resumable(config: TrainingConfig) -> None:
    """Raise TandemError where the project tunes: before its rows are read."""
    if config.tune:
        raise TandemError(
            "`training.tune` is set, and a tuning cannot be resumed.",
            "A single training.",
            "Start the tuning again with `tandem train`.",
        )


def _check_tuning_storage(run: Run) -> None:
    if run.copy:
        raise TandemError(
            f"`training.tune` is set, and storage is {run.copy.bucket.url}.",
            "A folder that all nodes share, because the trials write there.",
            "Set `storage` to such a folder for the tuning, or leave `training.tune` out.",
        )


def _tune(config: TrainingConfig, model: str, run: Run, reporter: TrainingReporter, data: DataReport | None) -> Path:
    """Run the trials; returns the folder of the best one. No setting that is tuned decides which rows are read."""
    assert config.tune is not None
    jobs, hardware = [], find_hardware(config, reporter)
    trials = trial_configs(resolve_workers(config, hardware))
    for number, (_, trial_config) in enumerate(trials):
        # Files that are kept on nodes are named after this folder.
        folder = run.path / TRIALS_FOLDER / f"{run.id}-trial-{number + 1}"
        folder.mkdir(parents=True)
        jobs.append(prepare_run(trial_config, model, folder, data, hardware, NUM_EVALUATIONS, reporter.progress))
    settings = [changed for changed, _ in trials]
    check_same_held_out(jobs, settings)
    return run_trials(jobs, settings, config.tune, reporter).folder


def prepare_run(
    config: TrainingConfig,
    model: str,
    folder: Path,
    data: DataReport | None = None,
    hardware: Hardware | None = None,
    num_evaluations: int | None = None,
    progress: Report | None = None,
) -> TrainingJob:
    """Check and encode every row, hold some out, and count the steps; no worker is needed for this.

    Leaves the encoded rows, `trained.jsonl` and `job.json` in the run folder: all that `resume` needs.

    Args:
        data: the result of `check_rows(config)`; the rows are read here where it is not given.
        hardware: what the training may run on; it is looked at here where it is not given.
        num_evaluations: how many held-out losses there are to be, at least, where `eval_steps` is not set.
        progress: gets a line from time to time where reading or encoding takes long.

    Raises:
        TandemError: as `train`.
    """
    check_trackers_installed(config)
    check_base_weights(model)
    settled, placement = resolve_auto_settings(config, model, hardware or read_hardware())
    check_elastic_workers(settled)
    check_method(settled, placement.kind == "gpu")
    report = data or check_rows(config, progress)
    tokenizer = load_tokenizer(model, config.objective != "text")
    check = TemplateCheck(tokenizer, model, config.control_tokens)
    encoded = encode_rows(
        report, tokenizer, max_row_tokens(config, model), config.max_bad_rows, check,
        max_pass_tokens=max_pass_tokens(config), progress=progress,
    )  # fmt: skip
    warn_of_left_out_rows(encoded.left_out)
    log_unused_keys(report.sources)
    warn_of_template(check.warnings())
    encoded.check_draws(config)
    trained, held_out = encoded.split(config)
    if config.objective == "kto":
        labels = [row.row.label for row in trained if row.row.label is not None]
        check_both_labels(labels, "rows that are not held out")
    Examples.from_rows(trained).save(folder / TRAINING_ROWS_FILE)
    rows = Examples.load(folder / TRAINING_ROWS_FILE)
    Examples.from_rows(held_out).save(folder / HELD_OUT_ROWS_FILE)
    write_trained_rows((row.row for row in trained), folder)
    steps = OptimizerSteps(rows, settled)
    if num_evaluations and not settled.eval_steps:
        settled = settled.model_copy(update={"eval_steps": max(1, len(steps) // num_evaluations)})
    job = TrainingJob(settled, model, folder, len(steps), placement=placement)
    check_evaluations(job, steps, len(held_out))
    deepspeed_config(settled, settled.workers.max, placement=placement)
    prepared = {
        "job": job.to_dict(), "template_hash": template_hash(tokenizer), "prompt_hash": report.prompt_hash,
        "stop_token_ids": list(check.learnt_ends), "base_stop_token_ids": list(served_ends(tokenizer, model)),
        "num_rows": len(trained), "chat_template_kwargs": encoded.shared_template_kwargs(trained),
        "fingerprint": trained_fingerprint(config, settled, model, digest_model(model)),
    }  # fmt: skip
    write_atomically(folder / JOB_FILE, json.dumps(prepared, indent=2) + "\n")
    return job


def find_hardware(config: TrainingConfig, reporter: TrainingReporter) -> Hardware:
    """The hardware of the open Ray session, usable for this training; a GPU node that is to come is waited for.

    Raises:
        TandemError: no GPU node came up in time, or a driver or GPU cannot be used.
    """
    hardware = read_hardware()
    if training_kind(config, hardware) == "gpu":
        hardware = hardware if hardware.gpu_nodes else _first_gpu_node(config, hardware, reporter)
        for remark in check_gpus_usable(hardware, config.precision, num_taken=hardware.num_taken):
            reporter.note(remark)
    return hardware


def _first_gpu_node(config: TrainingConfig, hardware: Hardware, reporter: TrainingReporter) -> Hardware:
    """The hardware once the autoscaler has brought a GPU node, which a task that takes a GPU asks it for."""
    import ray

    reporter.note(f"no GPU node is up: waiting for the autoscaler, which brings up to {hardware.max_gpus} GPUs")
    try:
        ray.get(ray.remote(num_gpus=gpus_per_worker(config))(lambda: None).remote(), timeout=GPU_NODE_S)
    except ray.exceptions.GetTimeoutError as error:
        raise TandemError(
            f"No GPU node came up within {GPU_NODE_S / 60:.0f} minutes.",
            f"A node with a GPU; the autoscaler may bring up to {hardware.max_gpus} GPUs.",
            "Look at the pods or machines that the autoscaler asked for, or set `training.ray_options: "
            "{use_gpu: false}` to train on CPUs.",
        ) from error
    return read_hardware()


def resolve_auto_settings(config: TrainingConfig, model: str, hardware: Hardware) -> tuple[TrainingConfig, Placement]:
    """The settings with workers, ZeRO stage, offload and precision that suit the hardware instead of `auto`, and what
    the workers run on.

    Raises:
        TandemError: there are too few GPUs, nothing fits, or nothing fits with `workers.min` workers.
    """
    config = resolve_workers(config, hardware)
    placement = place_workers(config, hardware)
    device, min_workers = workers_device(config, placement, hardware), config.workers.min
    config = resolve_precision(config, device)
    chosen = choose_zero_stage(config, model, device, placement, hardware)
    settled = config.model_copy(update={"zero_stage": chosen.zero_stage, "offload": chosen.offload})
    if min_workers < config.workers.max:
        fewest = settled.model_copy(update={"workers": WorkerRange(min=min_workers, max=min_workers)})
        choose_zero_stage(fewest, model, device, placement, hardware)
    return settled, placement


def raise_workers_error(folder: Path) -> None:
    """Raise the TandemError that ended the workers of a training, if one did."""
    summary = json.loads((folder / SUMMARY_FILE).read_text())
    if "error" in summary:
        (folder / SUMMARY_FILE).unlink()
        raise TandemError(*summary["error"])


def _has_ended(folder: Path) -> bool:
    """Whether the workers of a training have left all that is published; the summary is what they write last."""
    summary = folder / SUMMARY_FILE
    return summary.exists() and "error" not in json.loads(summary.read_text())


def publish_run(folder: Path, config: TrainingConfig, model: str, adapter: str, storage: Storage) -> AdapterVersion:
    """Publish what a training that has ended left in its folder, with its model card.

    `config` has the settings as the user wrote them, by which the version is found again; the job in the folder has the
    settings that `auto` was resolved to.
    """
    prepared, summary = (json.loads((folder / name).read_text()) for name in (JOB_FILE, SUMMARY_FILE))
    job, files = TrainingJob.from_dict(prepared["job"]), folder / ADAPTER_FOLDER
    lines = read_metrics(folder / METRICS_FILE)
    metrics = {
        "num_rows": prepared["num_rows"],
        "num_steps": job.num_steps,
        **summary,
        "worker_s": sum_worker_seconds(lines),
    }
    shutil.copyfile(folder / TRAINED_ROWS_FILE, files / TRAINED_ROWS_FILE)
    # A run that an earlier version prepared has no learnt ends.
    ends, known = (prepared.get(key, []) for key in ("stop_token_ids", "base_stop_token_ids"))
    new_ends = sorted(set(ends).difference(known))
    if ends:
        write_generation_config(files, model, ends, known)
    write_model_card(
        files, adapter, job.config, model=model, data_digest=digest_sources(config),
        lines=lines, metrics=metrics, new_ends=new_ends, chat_template_kwargs=prepared.get("chat_template_kwargs"),
        is_chat=prepared["template_hash"] != NO_TEMPLATE,
    )  # fmt: skip
    base_digest = digest_model(model)
    return publish_version(
        storage, adapter, files, job.config, model=model, base_digest=base_digest, metrics=metrics,
        fingerprint=trained_fingerprint(config, job.config, model, base_digest), template=prepared["template_hash"],
        prompt_hash=prepared["prompt_hash"], promote=config.parity_tolerance is None, stop_token_ids=new_ends,
        chat_template_kwargs=prepared.get("chat_template_kwargs"),
    )  # fmt: skip


def sum_worker_seconds(lines: list[dict[str, Any]]) -> float:
    """Seconds that the steps took, of all workers together; loading a model and starting workers is not in them."""
    timed = (line for line in lines if line.get("tokens_per_s"))
    return float(round(sum(line["tokens"] / line["tokens_per_s"] * line["num_workers"] for line in timed), 3))
