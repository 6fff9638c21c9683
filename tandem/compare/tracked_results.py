"""A comparison in Weights & Biases and in Trackio, where `training.wandb` and `training.trackio` name a project.

Its figures are a run of its own, as they are in MLflow. A process of its own logs them: a client that prints, waits for
a server or starts threads then holds up nothing, and the comparison is over and written whatever becomes of it.
"""

import json
import subprocess
import sys
from pathlib import Path

from evaluation.results import Report
from tandem.compare.mlflow_results import WAIT_S, metrics_of, tags_of
from tandem.console import Console
from training.config import TrainingConfig

_NAMES = {"wandb": "W&B", "trackio": "Trackio"}


def log_to_trackers(config: TrainingConfig, report: Report, folder: Path, console: Console) -> None:
    """Log a comparison to each tracker that the settings name; a note says which one did not take it.

    Args:
        folder: the run's, with the report's files.
    """
    for setting, name in _NAMES.items():
        project = getattr(config, setting)
        if not project:
            continue
        problem = _log(setting, project, report, folder)
        if problem:
            text = f"The comparison is not in the project {project} of {name} ({problem}). Its files are in {folder}."
        else:
            text = f"The comparison is the run {report.run} of the project {project} of {name}."
        console.stage(setting, text)


def _log(setting: str, project: str, report: Report, folder: Path) -> str | None:
    """Why a tracker did not take the comparison, if it did not."""
    content = {"settings": {setting: project}, "values": {**metrics_of(report), **tags_of(report)}}
    command = [sys.executable, "-P", "-m", "training.trainer.trackers", report.run, str(folder)]
    try:
        done = subprocess.run(
            command, input=json.dumps(content), capture_output=True, text=True, timeout=WAIT_S, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not answer within {WAIT_S:.0f} s"
    words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return words[-1][:300] if done.returncode else None
