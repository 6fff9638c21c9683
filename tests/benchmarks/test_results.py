"""Committed results have the one shape, and a target is read as it is written."""

import json
from pathlib import Path

import pytest

from benchmarks.results import FOLDER, is_met, row

KEYS = {"metric", "unit", "ours", "baseline", "baseline_name", "ratio", "target"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_a_result_has_the_shape(path: Path) -> None:
    result = json.loads(path.read_text())
    assert set(result) == {"benchmark", "commit", "machine", "versions", "rows", "notes"}
    assert path.name.startswith(result["benchmark"] + "-")
    for found in result["rows"]:
        assert set(found) == KEYS
        assert is_met(found) in (True, False, None)


def test_a_target_holds_for_the_ratio_where_there_is_one() -> None:
    assert is_met(row("seconds", "s", 9.0, "<= 10")) is True
    assert is_met(row("seconds", "s", 11.0, "<= 10")) is False
    assert is_met(row("seconds", "s", 11.0)) is None
    assert is_met({**row("rate", "1/s", 100.0, ">= 0.95"), "ratio": 0.9}) is False
