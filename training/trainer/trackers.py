"""Receivers of a training's curves beside its own files: Weights & Biases, and Trackio.

Each is found again by the name of the training's run, so that a resumed training continues its curves. Both read their
credentials and modes from the environment, in their own names (`WANDB_MODE=offline`, `TRACKIO_DIR`).

    python -m training.trainer.trackers NAME FOLDER < settings and values as JSON      # values that belong to no step
"""

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.trainer.background import StepValues


class Tracker(Protocol):
    """A receiver of values; every method is called in one thread, and may raise what its client raises."""

    def send(self, steps: Sequence[StepValues]) -> None:
        """Log the values of steps."""

    def summarize(self, values: Mapping[str, float | str]) -> None:
        """Keep values that belong to no step, such as the figures of a comparison."""

    def end(self) -> None:
        """Mark the run as finished."""


class WandbRun:
    """One run of Weights & Biases, opened with the first values.

    Args:
        name: the run's name and id in the project; a run that has it is continued.
        folder: W&B keeps its files in the folder `wandb` below it, in offline mode all of them.
    """

    def __init__(self, project: str, name: str, folder: Path) -> None:
        self._project, self._name, self._folder = project, name, folder
        self._run: Any = None

    def send(self, steps: Sequence[StepValues]) -> None:
        run = self._open()
        for each in steps:
            # W&B's own steps only grow; a resumed training does some of its steps again.
            run.log({"step": each.step, **each.values})

    def summarize(self, values: Mapping[str, float | str]) -> None:
        self._open().summary.update(dict(values))

    def end(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _open(self) -> Any:
        if self._run is None:
            import wandb

            settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True)
            self._run = wandb.init(
                project=self._project, id=self._name, name=self._name, resume="allow", dir=str(self._folder),
                settings=settings,
            )  # fmt: skip
            self._run.define_metric("*", step_metric="step")
        return self._run


class TrackioRun:
    """One run of Trackio, opened with the first values; a run of this name is continued."""

    def __init__(self, project: str, name: str) -> None:
        self._project, self._name = project, name
        self._run: Any = None

    def send(self, steps: Sequence[StepValues]) -> None:
        run = self._open()
        for each in steps:
            run.log(dict(each.values), step=each.step)

    def summarize(self, values: Mapping[str, float | str]) -> None:
        self._open().log(dict(values))

    def end(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _open(self) -> Any:
        if self._run is None:
            import trackio

            self._run = trackio.init(
                self._project, name=self._name, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )
        return self._run


def open_trackers(config: TrainingConfig, name: str, folder: Path) -> dict[str, Tracker]:
    """The trackers that the settings name, by what people call them; nothing is opened yet.

    Args:
        name: the run's name.
        folder: the run's folder.
    """
    trackers: dict[str, Tracker] = {}
    if config.wandb:
        trackers[f"W&B, project {config.wandb}"] = WandbRun(config.wandb, name, folder)
    if config.trackio:
        trackers[f"Trackio, project {config.trackio}"] = TrackioRun(config.trackio, name)
    return trackers


def check_trackers_installed(config: TrainingConfig) -> None:
    """Raise TandemError where a tracker is configured and its package is not installed; starts nothing."""
    packages = {"mlflow": "mlflow-skinny", "wandb": "wandb", "trackio": "trackio"}
    for setting, package in packages.items():
        value, spec = getattr(config, setting), importlib.util.find_spec(setting)
        if value and (spec is None or spec.origin is None):  # a folder `wandb` with files is no package
            raise TandemError(
                f"`training.{setting}` is {value}, and the package {setting} is not installed.",
                f"The package {package} on this machine and on every node that trains.",
                f"Install {package}, or leave `training.{setting}` out of the project file.",
            )


def log_summary(name: str, folder: Path, settings: Mapping[str, str], values: Mapping[str, float | str]) -> None:
    """Log values that belong to no step, such as the figures of a comparison, as a run of its own.

    Args:
        name: the run's name.
        folder: the run's folder.
        settings: `wandb` or `trackio` with its project.
    """
    for tracker in open_trackers(TrainingConfig.model_validate(settings), name, folder).values():
        tracker.summarize(values)
        tracker.end()


if __name__ == "__main__":
    content = json.loads(sys.stdin.read())
    log_summary(sys.argv[1], Path(sys.argv[2]), content["settings"], content["values"])
