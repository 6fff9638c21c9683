"""Commands that are interrupted at random moments end within seconds, with 130 or 143, and leave no process behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.processes import left_after, marked_environment

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
LIMIT_S = 60
"""Ends within seconds; the limit allows for a busy machine, and for a start of Ray that is let finish first."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    text = (QUICKSTART / "tandem.yaml").read_text().replace("storage: ../../runs", "storage: ./runs")
    text = text.replace("port: 8000", f"port: {free_port()}")
    for name in ("model", "data", "docs"):
        (folder / name).symlink_to(QUICKSTART / name)
    (folder / "tandem.yaml").write_text(text)
    return folder


def interrupt(project: Path, number: signal.Signals, seconds: float, *verb: str) -> None:
    """Start a command, send it a signal after so many seconds, and check how it ends."""
    environment = {**marked_environment(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tandem", *verb], cwd=project, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    time.sleep(seconds)
    ended = process.poll() is not None
    if not ended:
        process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    about = f"{verb} {number.name} after {seconds} s: {output}"
    assert ended or process.returncode in (128 + number, 0), f"{process.returncode} of {about}"
    assert process.returncode != 0 or ended or verb == ("serve",), about
    assert "Traceback" not in output and "Exception ignored" not in output, about
    assert not left_after(environment, 10), about
    statuses = {path: json.loads(path.read_text())["status"] for path in project.glob("runs/*/*/manifest.json")}
    assert "running" not in statuses.values(), about


@pytest.mark.parametrize("seconds", [0.15, 0.6, 1.5, 3.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_data_check_at_any_moment(project: Path, number: signal.Signals, seconds: float) -> None:
    interrupt(project, number, seconds, "data", "check")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_at_any_moment(project: Path, seed: int) -> None:
    draw = random.Random(seed)
    interrupt(project, draw.choice([signal.SIGINT, signal.SIGTERM]), draw.uniform(2, 25), "train")


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("verb", [("train",), ("compare",), ("index",), ("serve",), ("plan",), ("data", "check")])
def test_every_verb_at_any_moment(project: Path, verb: tuple[str, ...], seed: int) -> None:
    draw = random.Random(f"{verb}-{seed}")
    interrupt(project, draw.choice([signal.SIGINT, signal.SIGTERM]), draw.uniform(0.1, 40), *verb)


def test_the_entry_point_is_the_one_that_guards_the_import() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'tandem = "tandem.__main__:run"' in text
    code = (
        "import os, signal, tandem.__main__ as entry, tandem.cli\n"
        "tandem.cli.main = lambda: (os.kill(os.getpid(), signal.SIGINT), __import__('time').sleep(9))\nentry.run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")
