"""What an earlier version left in earlier_version/, copied for a test, and the command that reads it.

Only what users hold is named by the tests: the command, `tandem.deployment:build`, `python -m cluster.health`, each
package's `config`, and the report. So they run on any layout of the code.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
EARLIER = Path(__file__).parent / "earlier_version"
MODEL = ROOT / "examples" / "quickstart" / "model"
VARIABLES = {"EARLIER_DB_PASSWORD": "secret", "EARLIER_API_KEY": "key", "COLUMNS": "500"}
"""What the project files name as `${NAME}`, and a terminal on which no message is broken."""

SUPPORT_AT = "/srv/tandem/support"
"""Where the project was when its files were written."""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def tandem(folder: Path, *arguments: str) -> Done:
    """The command, called in this process: one of its own would take a second each time."""
    from tandem.cli import main

    out, err, handler = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["tandem", *arguments])
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Done(code if isinstance(code, int) else 0, out.getvalue().rstrip("\n"), err.getvalue())


def python(*arguments: str, cwd: Path = ROOT, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    """A fresh interpreter that finds this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **VARIABLES}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )


def support(folder: Path) -> Path:
    """The project with comparisons, adapters, an index, keys and answers. Its model is the quickstart's."""
    shutil.copytree(EARLIER / "support", folder, dirs_exist_ok=True)
    (folder / "model").symlink_to(MODEL)
    file = folder / "tandem.yaml"
    file.write_text(file.read_text().replace("8127", str(free_port())))
    return folder


def depot(folder: Path) -> Path:
    """The project whose training was interrupted."""
    return Path(shutil.copytree(EARLIER / "depot", folder, dirs_exist_ok=True))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
