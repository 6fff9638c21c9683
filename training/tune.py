"""`training.tune`: several trials under Ray Tune, of which ASHA (arXiv:1810.05934) stops those that fall behind.

A trial is a whole training in a folder of its own; trials are compared by their held-out loss. Only a trial that ran to
its end can be the best one: its loss is that of the weights that it left.
"""

import itertools
import json
import logging
import math
import os
import random
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.errors import TandemError, last_line
from cluster.fingerprints.digests import digest_file
from cluster.full_disk import DiskFull, full_disk_explained
from cluster.storage.files import write_atomically
from training.config import TrainingConfig, TuningConfig
from training.trainer.fit import TrainingReporter, remove_local_files, run_job
from training.trainer.job import HELD_OUT_ROWS_FILE, SUMMARY_FILE, TrainingJob
from training.trainer.worker_errors import find_error, post_error

# Names on disk, from the time when `training.tune` was called `training.search`.
TRIALS_FOLDER, TRIALS_FILE = "search", "search.json"
NUM_EVALUATIONS = 9
"""Held-out losses of a trial, at least, where `eval_steps` is not set: ASHA decides by them."""
_DECIDES_WHAT_IS_COMPARED = {
    "data", "held_out", "held_out_data", "max_bad_rows", "control_tokens", "consecutive_turns", "chat_template_kwargs",
    "objective", "dpo_beta", "kto_beta", "kto_desirable_weight", "kto_undesirable_weight", "seed", "adapter",
}  # fmt: skip
# ASHA first decides after this share of a trial, in percent.
_GRACE_PERIOD = 11
_POLL_S = 1.0
TUNE_AGAIN = "Make room there, then start the tuning again with `tandem train`; a tuning cannot be resumed."


@dataclass(frozen=True)
class Trial:
    """One training with its settings, and how it went.

    `share` is how much of it was done when `held_out_loss` was measured, from 0 to 1; 1 is a trial that ran to its end,
    whose loss is that of the weights it left. `error` is why it failed.
    """

    number: int
    settings: dict[str, Any]
    held_out_loss: float | None
    share: float
    error: str | None = None

    @property
    def has_finished(self) -> bool:
        return self.share == 1 and self.error is None and self.held_out_loss is not None

    def describe(self, num_trials: int) -> str:
        """One line about the trial, as in `trial 1 of 8 (rank 16): held-out loss 1.2345`."""
        values = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"trial {self.number + 1} of {num_trials} ({values}): {self._outcome()}"

    def _outcome(self) -> str:
        if self.error is not None:
            return f"failed. {self.error}"
        if self.held_out_loss is None:
            return "stopped before its first held-out loss"
        ended = "" if self.share == 1 else f", stopped after {self.share:.0%}"
        return f"held-out loss {self.held_out_loss:.4f}{ended}"


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


def check_same_held_out(jobs: Sequence[TrainingJob], settings: Sequence[dict[str, Any]]) -> None:
    """Check that all trials are measured on the same tokens: what they set may decide which rows are usable, or where
    texts are cut.

    Raises:
        TandemError: the held-out rows of two trials differ.
    """
    digests = [digest_file(job.folder / HELD_OUT_ROWS_FILE) for job in jobs]
    other = next((number for number, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        first, second = (
            f"trial {number + 1} ({', '.join(f'{name} {value}' for name, value in settings[number].items())})"
            for number in (0, other)
        )
        raise _invalid(
            f"{first[0].upper()}{first[1:]} and {second} hold out different rows or tokens, so that their held-out "
            "losses cannot be compared."
        )


def run_trials(
    jobs: Sequence[TrainingJob], settings: Sequence[dict[str, Any]], tuning: TuningConfig, reporter: TrainingReporter
) -> TrainingJob:
    """Run trials inside an open Ray session; returns the job with the lowest held-out loss of the finished ones.

    Leaves search.json, with every trial, beside the trials' folders.

    Args:
        jobs: one for each trial, prepared with `NUM_EVALUATIONS`.
        settings: what each trial sets, for people.

    Raises:
        DiskFull: a disk became full in one of the trials; the others are not begun.
        TandemError: no trial ran to its end.
    """
    tuner = _Tuner(jobs, settings, tuning, reporter, uuid.uuid4().hex)
    outcome: Future[list[Trial]] = Future()
    with full_disk_explained(tuner.folder, TUNE_AGAIN):
        threading.Thread(target=_run_in_thread, args=(outcome, tuner), daemon=True).start()
        while not outcome.done():
            tuner.raise_full_disk()
            wait([outcome], _POLL_S)
        tuner.raise_full_disk()  # before what became of Tune on that disk
        trials = outcome.result()
        for job in jobs:
            remove_local_files(job)
        write_atomically(tuner.folder / TRIALS_FILE, json.dumps([asdict(trial) for trial in trials], indent=2) + "\n")
    best = find_best(trials)
    if best is None:
        raise _none_finished(trials, tuner)
    reporter.note(f"best of {len(trials)}: {best.describe(len(trials))}")
    return jobs[best.number]


def find_best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest held-out loss of those that ran to their end, the first of equal ones."""
    finished = [trial for trial in trials if trial.has_finished]
    return min(finished, key=lambda trial: (trial.held_out_loss, trial.number), default=None)


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
    attempt: str
    """Under which the trials post their errors."""

    @property
    def folder(self) -> Path:
        return self.jobs[0].folder.parent

    def raise_full_disk(self) -> None:
        """Raise DiskFull where a trial posted it."""
        for number in range(len(self.jobs)):
            error = find_error(_trial_attempt(self.attempt, number))
            if isinstance(error, DiskFull):
                raise DiskFull(error.seen, error.accepted, TUNE_AGAIN)

    def run(self) -> list[Trial]:
        """All trials under Tune, as far as each went."""
        from ray import tune

        # Tune prints a table where a command's result belongs, and the traceback of each trial that fails.
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        tuner = tune.Tuner(
            # Tune wants a resource for each trial; the cores are for the workers inside.
            tune.with_resources(_trainable(self.jobs, self.attempt), {"memory": 1 << 20}),
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
        results = {result.config["number"]: result for result in tuner.fit()}
        trials = []
        for number in range(len(self.jobs)):
            result = results.get(number)
            trials.append(self._trial(number, result and result.metrics, result and result.error))
        return trials

    def _trial(self, number: int, metrics: dict[str, Any] | None, error: Exception | None = None) -> Trial:
        """How a trial went: by what it left where it ran to its end, else by what it last let Tune know."""
        settings, last = dict(self.settings[number]), metrics or {}
        posted = find_error(_trial_attempt(self.attempt, number))
        reason = posted.seen if posted else last_line(error) if error else None
        summary = {} if reason else _read_summary(self.jobs[number])
        if "num_steps_done" in summary:
            return _finished_trial(number, settings, summary.get("held_out_loss"))
        return Trial(number, settings, last.get("held_out_loss"), last.get("share", 0) / 100, reason)

    def _report_callback(self) -> Any:
        """A Tune callback that reports the end of each trial to the user."""
        from ray import tune

        tuner = self

        class ReportTrial(tune.Callback):  # type: ignore[misc]
            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                ended = tuner._trial(trial.config["number"], trial.last_result)
                tuner.reporter.note(ended.describe(len(tuner.jobs)))

            def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                error = trial.get_pickled_error() or RuntimeError(trial.get_error() or "Its process died.")
                ended = tuner._trial(trial.config["number"], trial.last_result, error)
                tuner.reporter.note(ended.describe(len(tuner.jobs)))

        return ReportTrial()


def _trainable(jobs: Sequence[TrainingJob], attempt: str) -> Any:
    """The function that runs in each trial's actor: a training whose held-out losses go to Tune."""

    def train(parameters: dict[str, int]) -> None:
        from ray import tune

        job = jobs[parameters["number"]]

        def report(line: dict[str, Any]) -> None:
            loss = line.get("held_out_loss")
            if loss is not None and math.isfinite(loss) and line["step"] < job.num_steps:
                tune.report({"held_out_loss": loss, "share": 100 * line["step"] / job.num_steps})

        try:
            run_job(job, TrainingReporter(), report)
            summary = _read_summary(job)
            if "error" in summary:
                raise TandemError(*summary["error"])
        except TandemError as error:
            post_error(_trial_attempt(attempt, parameters["number"]), error)
            raise
        # Only now: a trial that ASHA stops at its last step would leave no adapter.
        if "held_out_loss" in summary:
            tune.report({"held_out_loss": summary["held_out_loss"], "share": 100})

    return train


def _trial_attempt(attempt: str, number: int) -> str:
    return f"{attempt}-trial-{number}"


def _read_summary(job: TrainingJob) -> dict[str, Any]:
    """What the workers of a trial left when they ended, which is `error` where they failed; empty before that."""
    path = job.folder / SUMMARY_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _finished_trial(number: int, settings: dict[str, Any], loss: float | None) -> Trial:
    if loss is None or not math.isfinite(loss):
        return Trial(number, settings, None, 1, f"Its held-out loss is {loss}, which cannot be compared.")
    return Trial(number, settings, loss, 1)


def _with_settings(config: TrainingConfig, settings: dict[str, Any]) -> TrainingConfig:
    values = config.model_dump(exclude_unset=True, exclude={"tune"}) | settings
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise _invalid(f"training.tune.space: {settings} is refused: {error.errors()[0]['msg']}.") from error


def _none_finished(trials: Sequence[Trial], tuner: _Tuner) -> TandemError:
    within = f" within {tuner.tuning.max_hours:g} hours" if tuner.tuning.max_hours else ""
    reasons = "; ".join(trial.describe(len(trials)).rstrip(".") for trial in trials)
    longer = "Raise `training.tune.max_hours`, or change" if tuner.tuning.max_hours else "Change"
    return TandemError(
        f"None of the trials ran to its end{within}: {reasons}.",
        "At least one trial that runs to its end; one that diverged, failed or was stopped is never published.",
        f"{longer} the values of `training.tune.space` (a lower `learning_rate` where trials diverged), and run "
        f"`tandem train` again. What each trial wrote is below {tuner.folder}.",
    )


def _invalid(problem: str) -> TandemError:
    return TandemError(
        problem,
        "A space names settings of `training`, each with a list of its values; a share of rows is held out.",
        "Correct `training.tune` or `training.held_out` in the project file.",
    )
