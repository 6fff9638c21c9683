"""Every process that a command started, found by a mark in its environment, however it was started."""

import os
import time
import uuid
from pathlib import Path

MARK = "TANDEM_TEST_MARK"


def marked_environment() -> dict[str, str]:
    """The environment for a command whose descendants are to be found again."""
    return {**os.environ, "COLUMNS": "200", MARK: uuid.uuid4().hex}


def descendants(environment: dict[str, str]) -> dict[int, str]:
    """Command lines of the living processes that carry the mark, by process id."""
    wanted = f"{MARK}={environment[MARK]}".encode()
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and wanted in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return {pid: command for pid, command in found.items() if command}


def left_after(environment: dict[str, str], seconds: float) -> dict[int, str]:
    """What still lives `seconds` later; returns as soon as nothing does."""
    deadline = time.monotonic() + seconds
    while (alive := descendants(environment)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive
