"""`training.tune`: several trials under Ray Tune, of which ASHA (arXiv:1810.05934) stops those that fall behind.

A trial is a whole training in a folder of its own; trials are compared by their held-out loss.
"""

import itertools
import json
import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from training.config import TrainingConfig, TuningConfig
from training.trainer.fit import TrainingReporter, remove_local_files, run_job
from training.trainer.job import SUMMARY_FILE, TrainingJob

# Names on disk, from the time when `training.tune` was called `training.search`.
TRIALS_FOLDER, TRIALS_FILE = "search", "search.json"
_NUM_EVALUATIONS = 9
_DECIDES_WHAT_IS_COMPARED = {
    "data", "held_out", "held_out_data", "max_bad_rows", "consecutive_turns", "chat_template_kwargs", "objective",
    "dpo_beta", "seed", "adapter",
}  # fmt: skip
# ASHA first decides after this share of a trial, in percent.
_GRACE_PERIOD = 11


@dataclass(frozen=True)
class Trial:
    """One training with its settings, and how it went: `share` is how much of it was done, from 0 to 1."""

    number: int
    settings: dict[str, Any]
    held_out_loss: float | None
    share: float

    def describe(self, num_trials: int) -> str:
        """One line about the trial, as in `trial 1 of 8 (rank 16): held-out loss 1.2345`."""
        values = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        loss = "failed" if self.held_out_loss is None else f"held-out loss {self.held_out_loss:.4f}"
        ended = "" if self.share == 1 else f", stopped after {self.share:.0%}"
        return f"trial {self.number + 1} of {num_trials} ({values}): {loss}{ended}"


def trial_configs(config: TrainingConfig) -> list[tuple[dict[str, Any], TrainingConfig]]:
    """What each trial sets, and its whole configuration: all combinations, or `num_trials` drawn by the seed.

    Raises:
        TandemError: an unknown setting, a value that it does not take, one that decides what is compared, or no
            held-out rows.
    """
    tuning = config.tune
    assert tuning is not None
    deciding = sorted(_DECIDES_WHAT_IS_COMPARED & tuning.space.keys())
    if deciding:
        raise _invalid(f"training.tune.space names {deciding[0]}, with which held-out losses cannot be compared.")
    if not config.held_out and not config.held_out_data:
        raise _invalid("training.tune compares held-out losses, and no rows are held out.")
    names = sorted(tuning.space)
    combinations = itertools.product(*(tuning.space[name] for name in names))
    settings = [dict(zip(names, values, strict=True)) for values in combinations]
    trials = [(changed, _with_settings(config, changed)) for changed in settings]
    return random.Random(config.seed).sample(trials, tuning.num_trials) if len(trials) > tuning.num_trials else trials


def run_trials(
    jobs: Sequence[TrainingJob], settings: Sequence[dict[str, Any]], tuning: TuningConfig, reporter: TrainingReporter
) -> TrainingJob:
    """Run trials inside an open Ray session; returns the job with the lowest held-out loss of the finished ones.

    Leaves search.json, with every trial, beside the trials' folders.

    Args:
        jobs: one for each trial, prepared.
        settings: what each trial sets, for people.

    Raises:
        TandemError: no trial finished.
    """
    jobs = [_with_evaluations(job) for job in jobs]
    tuner = _Tuner(jobs, settings, tuning, reporter)
    outcome: Future[list[Trial]] = Future()
    threading.Thread(target=_run_in_thread, args=(outcome, tuner), daemon=True).start()
    trials = outcome.result()
    for job in jobs:
        remove_local_files(job)
    write_atomically(tuner.folder / TRIALS_FILE, json.dumps([asdict(trial) for trial in trials], indent=2) + "\n")
    finished = {
        trial.held_out_loss: trial for trial in trials if trial.held_out_loss is not None and tuner.has_finished(trial)
    }
    if not finished:
        raise _none_finished(tuner)
    best = finished[min(finished)]
    reporter.note(f"best of {len(trials)}: {best.describe(len(trials))}")
    return jobs[best.number]


def _run_in_thread(outcome: "Future[list[Trial]]", tuner: "_Tuner") -> None:
    """Outside of the main thread, where Tune would take over Ctrl-C."""
    try:
        outcome.set_result(tuner.run())
    except BaseException as error:  # noqa: BLE001 - raised again in the main thread
        outcome.set_exception(error)


@dataclass(frozen=True)
class _Tuner:
    jobs: Sequence[TrainingJob]
    settings: Sequence[dict[str, Any]]
    tuning: TuningConfig
    reporter: TrainingReporter

    @property
    def folder(self) -> Path:
        return self.jobs[0].folder.parent

    def has_finished(self, trial: Trial) -> bool:
        return (self.jobs[trial.number].folder / SUMMARY_FILE).exists()

    def run(self) -> list[Trial]:
        """All trials under Tune, as far as each went."""
        from ray import tune

        tuner = tune.Tuner(
            # Tune wants a resource for each trial; the cores are for the workers inside.
            tune.with_resources(_trainable(self.jobs), {"memory": 1 << 20}),
            param_space={"number": tune.grid_search(list(range(len(self.jobs))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=self.tuning.max_concurrent,
                time_budget_s=3600 * self.tuning.max_hours if self.tuning.max_hours else None,
                scheduler=tune.schedulers.ASHAScheduler(
                    time_attr="share", metric="held_out_loss", mode="min", max_t=101, grace_period=_GRACE_PERIOD,
                    reduction_factor=self.tuning.reduction_factor,
                ),
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(self.folder), verbose=0, callbacks=[self._report_callback()]
            ),
        )  # fmt: skip
        last_results = {result.config["number"]: result.metrics for result in tuner.fit()}
        return [self._trial(number, last_results.get(number)) for number in range(len(self.jobs))]

    def _trial(self, number: int, result: dict[str, Any] | None) -> Trial:
        result = result or {}
        return Trial(number, dict(self.settings[number]), result.get("held_out_loss"), result.get("share", 0) / 100)

    def _report_callback(self) -> Any:
        """A Tune callback that reports the end of each trial to the user."""
        from ray import tune

        tuner = self

        class ReportTrial(tune.Callback):  # type: ignore[misc]
            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                ended = tuner._trial(trial.config["number"], trial.last_result)
                tuner.reporter.note(ended.describe(len(tuner.jobs)))

        return ReportTrial()


def _trainable(jobs: Sequence[TrainingJob]) -> Any:
    """The function that runs in each trial's actor: a training whose held-out losses go to Tune."""

    def train(parameters: dict[str, int]) -> None:
        from ray import tune

        job = jobs[parameters["number"]]

        def report(line: dict[str, Any]) -> None:
            if "held_out_loss" in line and line["step"] < job.num_steps:
                tune.report({"held_out_loss": line["held_out_loss"], "share": 100 * line["step"] / job.num_steps})

        run_job(job, TrainingReporter(), report)
        # Only now: a trial that ASHA stops at its last step would leave no adapter.
        summary = json.loads((job.folder / SUMMARY_FILE).read_text())
        if "held_out_loss" in summary:
            tune.report({"held_out_loss": summary["held_out_loss"], "share": 100})

    return train


def _with_evaluations(job: TrainingJob) -> TrainingJob:
    """The job with held-out losses often enough for ASHA to decide by."""
    steps = job.config.eval_steps or max(1, job.num_steps // _NUM_EVALUATIONS)
    return replace(job, config=job.config.model_copy(update={"eval_steps": steps}))


def _with_settings(config: TrainingConfig, settings: dict[str, Any]) -> TrainingConfig:
    values = config.model_dump(exclude_unset=True, exclude={"tune"}) | settings
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise _invalid(f"training.tune.space: {settings} is refused: {error.errors()[0]['msg']}.") from error


def _none_finished(tuner: _Tuner) -> TandemError:
    within = f" within {tuner.tuning.max_hours:g} hours" if tuner.tuning.max_hours else ""
    return TandemError(
        f"None of the {len(tuner.jobs)} trials finished{within}.",
        "At least one trial that finishes.",
        f"Raise `training.tune.max_hours`, or read why the trials failed below {tuner.folder}.",
    )


def _invalid(problem: str) -> TandemError:
    return TandemError(
        problem,
        "A space names settings of `training`, each with a list of its values; a share of rows is held out.",
        "Correct `training.tune` or `training.held_out` in the project file.",
    )
