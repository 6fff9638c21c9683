"""The curves of a run: metrics.jsonl, TensorBoard and, where they are configured, MLflow, W&B and Trackio."""

import json
import threading
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.trainer.background import BackgroundWriter, RefusedValues, StepValues, describe_lost
from training.trainer.job import METRICS_FILE
from training.trainer.trackers import open_trackers

TENSORBOARD_FOLDER = "tensorboard"
MLFLOW_EXPERIMENT, MLFLOW_TAG = "tandem", "tandem.run"
MLFLOW_VALUES = 1000
CLOSE_S = 30.0
"""Seconds that the end of a training waits for values that were not sent yet."""


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
    """Writes the values of each step to metrics.jsonl, TensorBoard and what the settings name, on rank 0 only."""

    def __init__(self, folder: Path, config: TrainingConfig, first_step: int = 1, mlflow_run: str | None = None):
        """Opens the files in the run's folder.

        Args:
            folder: the run's folder; it is made where it is missing.
            config: whose `mlflow`, `wandb` and `trackio` say where curves go beside the folder.
            first_step: the first step that will be recorded; a resumed run's curves lose what they had from there on.
            mlflow_run: id of the MLflow run to continue, as `mlflow_run` of an earlier recorder gave it.
        """
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._lines = _open_for_append(folder / METRICS_FILE)
        self._writing, self._step = threading.Lock(), first_step - 1
        # a purge is an event of its own: a new run has nothing to purge
        purge = first_step if first_step > 1 else None
        board = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=purge, flush_secs=10)
        self._writers = [BackgroundWriter("TensorBoard", partial(_write_scalars, board), self._note, board.close)]
        self._mlflow: MlflowRun | None = None
        if config.mlflow:
            self._mlflow = MlflowRun(config.mlflow, folder.name, mlflow_run)
            name = f"MLflow at {config.mlflow}"
            self._writers.append(BackgroundWriter(name, self._mlflow.send, self._note, self._mlflow.end))
        for name, tracker in open_trackers(config, folder.name, folder).items():
            self._writers.append(BackgroundWriter(name, tracker.send, self._note, tracker.end))

    @property
    def mlflow_run(self) -> str | None:
        """Id of the MLflow run, once there is one: it is made beside the training."""
        return self._mlflow.run_id if self._mlflow else None

    def record_step(self, step: int, values: dict[str, float]) -> None:
        """Records a step's values; their line is in the file when this returns. A step may have several lines.

        TensorBoard and trackers get them from threads of their own, so that no GPU waits for a disk or a server.
        """
        self._step = step
        self._write({"step": step, **values})
        for writer in self._writers:
            writer.put(step, values)

    def record_attention(self, step: int, reason: str) -> None:
        """Records which attention runs, for a person who reads the file."""
        self._write({"step": step, "attention": reason})

    def record_note(self, step: int, text: str) -> None:
        """Records something that a person should read."""
        self._write({"step": step, "note": text})

    def close(self) -> None:
        """Flush and close the files, and end the MLflow run; what a receiver does not take in 30 s is noted."""
        for writer in self._writers:
            if num_lost := writer.close(CLOSE_S):
                self._note(describe_lost(writer.name, num_lost))
        with self._writing:
            self._lines.close()

    def _note(self, text: str) -> None:
        self.record_note(self._step, text)

    def _write(self, line: dict[str, Any]) -> None:
        with self._writing:
            if not self._lines.closed:  # a receiver's thread may have something to say after the end
                self._lines.write(json.dumps(line) + "\n")
                self._lines.flush()


class MlflowRun:
    """One run of MLflow, found or made with the first values that are sent.

    Args:
        name: the training's run, by which the MLflow run is found again after a restart (the tag `tandem.run`).
        run_id: the MLflow run, where it is known.
    """

    def __init__(self, uri: str, name: str, run_id: str | None = None) -> None:
        self.run_id, self._uri, self._name = run_id, uri, name

    def send(self, steps: Sequence[StepValues]) -> None:
        """Log the values of steps, at most 1,000 in a request, which is MLflow's limit."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        values = [Metric(name, value, each.time_ms, each.step) for each in steps for name, value in each.values.items()]
        try:
            self._open()
            for start in range(0, len(values), MLFLOW_VALUES):
                self._client.log_batch(self.run_id, metrics=values[start : start + MLFLOW_VALUES])
        except MlflowException as error:
            if error.get_http_status_code() in (400, 404):  # a key may be renewed, values and runs are not
                raise RefusedValues(error.message) from error
            raise

    def end(self) -> None:
        """Mark the run as finished."""
        if self.run_id is not None:
            self._client.set_terminated(self.run_id)

    @cached_property
    def _client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    def _open(self) -> None:
        if self.run_id is None:
            experiment = self._client.get_experiment_by_name(MLFLOW_EXPERIMENT)
            number = experiment.experiment_id if experiment else self._client.create_experiment(MLFLOW_EXPERIMENT)
            same = self._client.search_runs([number], f"tags.`{MLFLOW_TAG}` = '{self._name}'", max_results=1)
            tags = {MLFLOW_TAG: self._name}
            run = same[0] if same else self._client.create_run(number, tags=tags, run_name=self._name)
            self.run_id = run.info.run_id


def _write_scalars(board: Any, steps: Sequence[StepValues]) -> None:
    for each in steps:
        for name, value in each.values.items():
            board.add_scalar(name, value, each.step, walltime=each.time_ms / 1e3)


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
