"""`training.search`: several trainings under Ray Tune, of which ASHA (arXiv:1810.05934) stops those that fall behind.

What is compared is the held-out loss; each trial is a whole training of its own, in a folder of its own.
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
from training.config import SearchConfig, TrainingConfig
from training.trainer.fit import Reporter, fit, remove_local_files
from training.trainer.job import SUMMARY, Job

FOLDER, RESULT = "search", "search.json"
_EVALUATIONS = 9
_DECIDES_WHAT_IS_COMPARED = {
    "data", "held_out", "held_out_data", "max_bad_rows", "objective", "dpo_beta", "seed", "adapter",
}  # fmt: skip
# The first decision falls after this share of a trial, in percent.
_GRACE = 11


@dataclass(frozen=True)
class Trial:
    """One training of a search, and how it went: `share` is how much of it was done, from 0 to 1."""

    number: int
    settings: dict[str, Any]
    held_out_loss: float | None
    share: float

    def told(self, num_trials: int) -> str:
        """For a person."""
        values = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        loss = "failed" if self.held_out_loss is None else f"held-out loss {self.held_out_loss:.4f}"
        ended = "" if self.share == 1 else f", stopped after {self.share:.0%}"
        return f"trial {self.number + 1} of {num_trials} ({values}): {loss}{ended}"


def candidates(config: TrainingConfig) -> list[tuple[dict[str, Any], TrainingConfig]]:
    """The settings that a search tries: all combinations, or `num_trials` of them drawn by the seed.

    Raises:
        TandemError: an unknown setting, a value that it does not take, one that decides what is compared, or no
            held-out rows.
    """
    search = config.search
    assert search is not None
    deciding = sorted(_DECIDES_WHAT_IS_COMPARED & search.space.keys())
    if deciding:
        raise _refused(f"training.search.space names {deciding[0]}, with which held-out losses cannot be compared.")
    if not config.held_out and not config.held_out_data:
        raise _refused("training.search compares held-out losses, and no rows are held out.")
    names = sorted(search.space)
    combinations = itertools.product(*(search.space[name] for name in names))
    chosen = [dict(zip(names, values, strict=True)) for values in combinations]
    tried = [(settings, _with(config, settings)) for settings in chosen]
    return random.Random(config.seed).sample(tried, search.num_trials) if len(tried) > search.num_trials else tried


def search(jobs: Sequence[Job], settings: Sequence[dict[str, Any]], how: SearchConfig, reporter: Reporter) -> Job:
    """Run trials inside an open Ray session; the job with the lowest held-out loss of those that ran to their end.

    Leaves search.json, with every trial, beside the trials' folders.

    Args:
        jobs: one for each trial, prepared.
        settings: what each sets, for people.

    Raises:
        TandemError: no trial ran to its end.
    """
    jobs = [_with_evaluations(job) for job in jobs]
    trials = _Trials(jobs, settings, how, reporter)
    outcome: Future[list[Trial]] = Future()
    threading.Thread(target=_settle, args=(outcome, trials), daemon=True).start()
    found = outcome.result()
    for job in jobs:
        remove_local_files(job)
    write_atomically(trials.folder / RESULT, json.dumps([asdict(trial) for trial in found], indent=2) + "\n")
    ended = {
        trial.held_out_loss: trial for trial in found if trial.held_out_loss is not None and trials.has_ended(trial)
    }
    if not ended:
        raise _none_ended(trials)
    best = ended[min(ended)]
    reporter.note(f"best of {len(found)}: {best.told(len(found))}")
    return jobs[best.number]


def _settle(outcome: "Future[list[Trial]]", trials: "_Trials") -> None:
    """Outside of the main thread, where Tune would take over Ctrl-C."""
    try:
        outcome.set_result(trials.run())
    except BaseException as error:  # noqa: BLE001 - raised again in the main thread
        outcome.set_exception(error)


@dataclass(frozen=True)
class _Trials:
    jobs: Sequence[Job]
    settings: Sequence[dict[str, Any]]
    how: SearchConfig
    reporter: Reporter

    @property
    def folder(self) -> Path:
        return self.jobs[0].folder.parent

    def has_ended(self, trial: Trial) -> bool:
        return (self.jobs[trial.number].folder / SUMMARY).exists()

    def run(self) -> list[Trial]:
        """All trials under Tune, as far as each went."""
        from ray import tune

        tuner = tune.Tuner(
            # Tune wants a resource for each trial; the cores are for the workers inside.
            tune.with_resources(_trainable(self.jobs), {"memory": 1 << 20}),
            param_space={"number": tune.grid_search(list(range(len(self.jobs))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=self.how.max_concurrent,
                time_budget_s=3600 * self.how.max_hours if self.how.max_hours else None,
                scheduler=tune.schedulers.ASHAScheduler(
                    time_attr="share", metric="held_out_loss", mode="min", max_t=101, grace_period=_GRACE,
                    reduction_factor=self.how.reduction_factor,
                ),
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(self.folder), verbose=0, callbacks=[self._told()]
            ),
        )  # fmt: skip
        last = {result.config["number"]: result.metrics for result in tuner.fit()}
        return [self._trial(number, last.get(number)) for number in range(len(self.jobs))]

    def _trial(self, number: int, last: dict[str, Any] | None) -> Trial:
        last = last or {}
        return Trial(number, dict(self.settings[number]), last.get("held_out_loss"), last.get("share", 0) / 100)

    def _told(self) -> Any:
        """A callback that tells the end of each trial."""
        from ray import tune

        search = self

        class Told(tune.Callback):  # type: ignore[misc]
            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                done = search._trial(trial.config["number"], trial.last_result)
                search.reporter.note(done.told(len(search.jobs)))

        return Told()


def _trainable(jobs: Sequence[Job]) -> Any:
    """What runs in each trial's actor: a training, whose held-out losses go to Tune."""

    def train(chosen: dict[str, int]) -> None:
        from ray import tune

        job = jobs[chosen["number"]]

        def report(line: dict[str, Any]) -> None:
            if "held_out_loss" in line and line["step"] < job.num_steps:
                tune.report({"held_out_loss": line["held_out_loss"], "share": 100 * line["step"] / job.num_steps})

        fit(job, Reporter(), report)
        # Only now: a trial that ASHA stops at its last step would leave no adapter.
        summary = json.loads((job.folder / SUMMARY).read_text())
        if "held_out_loss" in summary:
            tune.report({"held_out_loss": summary["held_out_loss"], "share": 100})

    return train


def _with_evaluations(job: Job) -> Job:
    """With held-out losses often enough for ASHA to decide by."""
    steps = job.config.eval_steps or max(1, job.num_steps // _EVALUATIONS)
    return replace(job, config=job.config.model_copy(update={"eval_steps": steps}))


def _with(config: TrainingConfig, settings: dict[str, Any]) -> TrainingConfig:
    values = config.model_dump(exclude_unset=True, exclude={"search"}) | settings
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise _refused(f"training.search.space: {settings} is refused: {error.errors()[0]['msg']}.") from error


def _none_ended(trials: _Trials) -> TandemError:
    within = f" within {trials.how.max_hours:g} hours" if trials.how.max_hours else ""
    return TandemError(
        f"None of the {len(trials.jobs)} trials of the search ran to its end{within}.",
        "At least one training that ends.",
        f"Raise `training.search.max_hours`, or read why they failed below {trials.folder}.",
    )


def _refused(seen: str) -> TandemError:
    return TandemError(
        seen,
        "A space names settings of `training`, each with a list of its values; a share of rows is held out.",
        "Correct `training.search` or `training.held_out` in the project file.",
    )
