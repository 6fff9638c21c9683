"""The curves of a run: metrics.jsonl, TensorBoard and, where it is configured, MLflow."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from training.config import TrainingConfig
from training.trainer.job import METRICS_FILE

TENSORBOARD_FOLDER = "tensorboard"


def check_mlflow_installed(config: TrainingConfig) -> None:
    """Raise TandemError where MLflow is configured and not installed; starts nothing."""
    if config.mlflow and importlib.util.find_spec("mlflow") is None:
        raise TandemError(
            f"training.mlflow is {config.mlflow}, but the package mlflow is not installed.",
            "A tracking URI needs the package mlflow or mlflow-skinny on every node.",
            "Install mlflow-skinny, or leave `mlflow` out of the project file.",
        )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The values of each step in order of steps; of a value that was recorded again after a crash, the last one.

    A last line that is not complete, because its writer was killed or still writes, is left out.
    """
    if not path.exists():
        return []
    complete, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    lines = (_parse_line(line) for line in complete.splitlines())
    steps: dict[int, dict[str, Any]] = {}
    for line in lines:
        if line is not None:
            steps.setdefault(line["step"], {}).update(line)
    return [steps[step] for step in sorted(steps)]


class MetricsRecorder:
    """Writes the values of each step to metrics.jsonl, TensorBoard and MLflow, on rank 0 only."""

    def __init__(self, folder: Path, config: TrainingConfig, first_step: int = 1, mlflow_run: str | None = None):
        """Opens the files in the run's folder.

        Args:
            folder: the run's folder; it is made where it is missing.
            config: whose `mlflow` says where curves go beside the folder.
            first_step: the first step that will be recorded; a resumed run's curves lose what they had from there on.
            mlflow_run: id of the MLflow run to continue, as `mlflow_run` of an earlier recorder gave it.
        """
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._lines = _open_for_append(folder / METRICS_FILE)
        # a purge is an event of its own: a new run has nothing to purge
        purge = first_step if first_step > 1 else None
        self._board = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=purge, flush_secs=10)
        self._mlflow: Any = None
        self.mlflow_run = mlflow_run
        if config.mlflow:
            self._open_mlflow(config, folder.name)

    def record_step(self, step: int, values: dict[str, float]) -> None:
        """Records a step's values; their line is in the file when this returns. A step may have several lines."""
        self._write({"step": step, **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if self._mlflow is not None:
            for name, value in values.items():
                self._mlflow.log_metric(self.mlflow_run, name, value, step=step)

    def record_attention(self, step: int, reason: str) -> None:
        """Records which attention runs, for a person who reads the file."""
        self._write({"step": step, "attention": reason})

    def record_note(self, step: int, text: str) -> None:
        """Records something that a person should read."""
        self._write({"step": step, "note": text})

    def close(self) -> None:
        """Flush and close the files, and end the MLflow run."""
        self._lines.close()
        self._board.close()
        if self._mlflow is not None:
            self._mlflow.set_terminated(self.mlflow_run)

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    def _open_mlflow(self, config: TrainingConfig, name: str) -> None:
        from mlflow.tracking import MlflowClient

        self._mlflow = MlflowClient(tracking_uri=config.mlflow)
        if self.mlflow_run is None:
            experiment = self._mlflow.get_experiment_by_name("tandem")
            number = experiment.experiment_id if experiment else self._mlflow.create_experiment("tandem")
            self.mlflow_run = self._mlflow.create_run(number, run_name=name).info.run_id


def _parse_line(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and "step" in values else None


def _open_for_append(path: Path) -> Any:
    """The file to append to; a line that a crash cut short is ended, so that the next one is read."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    lines = path.open("a", encoding="utf-8")
    if torn:
        lines.write("\n")
    return lines
