"""Curves of a run: each step once, whatever crashed in between."""

from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog

from training.config import TrainingConfig
from training.trainer.job import METRICS_FILE
from training.trainer.metrics import TENSORBOARD_FOLDER, MetricsRecorder, read_metrics


def test_a_step_done_again_counts_once_with_its_last_values(tmp_path: Path) -> None:
    first = MetricsRecorder(tmp_path, TrainingConfig())
    for step in (1, 2, 3):
        first.record_step(step, {"loss": float(step)})
    first.close()
    with (tmp_path / METRICS_FILE).open("a") as lines:
        lines.write('{"step": 4, "lo')
    again = MetricsRecorder(tmp_path, TrainingConfig(), first_step=3)
    again.record_step(3, {"loss": 30.0})
    again.close()
    assert [(each["step"], each["loss"]) for each in read_metrics(tmp_path / METRICS_FILE)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
    ]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / METRICS_FILE
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1')
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}]
    assert read_metrics(tmp_path / "none") == []


def test_tensorboard_events_are_written(tmp_path: Path) -> None:
    recorder = MetricsRecorder(tmp_path, TrainingConfig())
    recorder.record_step(1, {"loss": 0.5})
    recorder.close()
    (events,) = (tmp_path / TENSORBOARD_FOLDER).iterdir()
    assert b"loss" in events.read_bytes()


def test_a_resumed_run_purges_what_its_curves_had_from_its_first_step(tmp_path: Path) -> None:
    for first_step in (1, 3):
        recorder = MetricsRecorder(tmp_path, TrainingConfig(), first_step=first_step)
        recorder.record_step(first_step, {"loss": 0.5})
        recorder.close()
    starts = [
        each.step for each in _events(tmp_path / TENSORBOARD_FOLDER) if each.session_log.status == SessionLog.START
    ]
    assert starts == [3]


def _events(folder: Path) -> Iterator[Event]:
    """All events of a folder; a record is a length (8 bytes), its checksum (4), the event and its checksum (4)."""
    for path in folder.iterdir():
        data = path.read_bytes()
        while data:
            end = 12 + int.from_bytes(data[:8], "little")
            yield Event.FromString(data[12:end])
            data = data[end + 4 :]
