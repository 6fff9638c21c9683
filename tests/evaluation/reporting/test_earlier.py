"""Earlier runs beside this one: only what can be compared is, and nothing on the disk can stop a report."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from evaluation.reporting.earlier import MAX_RUNS, read_earlier_runs
from evaluation.reporting.page import render_page
from evaluation.reporting.report import write_reports
from evaluation.reporting.tables import earlier_runs_table
from evaluation.results import Report
from tests.evaluation.reports import make_report


@pytest.fixture
def report() -> Report:
    return make_report(8)


def keep(runs: Path, report: Report, days: int, **changed: object) -> Report:
    """The report as another run wrote it, so many days before."""
    created = report.created - timedelta(days=days)
    changed = {"created": created, "run": f"compare-{created:%Y%m%dT%H%M%S}-aaaaaa", **changed}
    found = report.model_copy(update=changed)
    (runs / found.run).mkdir(parents=True)
    (runs / found.run / "report.json").write_text(found.model_dump_json())
    return found


def test_runs_before_this_one_are_found_the_newest_first(tmp_path: Path, report: Report) -> None:
    old = keep(tmp_path, report, 3, questions_digest="other")
    last = keep(tmp_path, report, 1)
    keep(tmp_path, report, -1)
    keep(tmp_path, report, 0, run=report.run)
    found = read_earlier_runs(tmp_path, report)
    assert [run.run for run in found] == [last.run, old.run]
    assert [run.same_questions for run in found] == [True, False]
    assert found[0].arms["raft"] == report.cell("raft", "overall").accuracy
    assert all(run.not_comparable is None for run in found)


def test_a_run_from_before_an_arm_was_renamed_stands_in_the_same_column(tmp_path: Path, report: Report) -> None:
    kept = keep(tmp_path, report, 1)
    path = tmp_path / kept.run / "report.json"
    path.write_text(path.read_text().replace('"tuned_retrieval"', '"hybrid"'))
    (found,) = read_earlier_runs(tmp_path, report)
    assert found.arms["tuned_retrieval"] == report.cell("tuned_retrieval", "overall").accuracy
    assert "hybrid" not in found.arms
    table = earlier_runs_table(report, [found])
    assert table is not None and len(table.headings) == len(report.arms) + 2


def test_what_cannot_be_compared_is_listed_with_the_reason(tmp_path: Path, report: Report) -> None:
    contents = {
        "old": b'{"schema_version": 1, "cells": []}', "cut": b'{"schema_version": 2, "run": "x', "empty": b"",
        "list": b"[]", "bytes": b"\xff\xfe", "deep": b"[" * 100_000,
        "naive": report.model_copy(update={"created": report.created.replace(tzinfo=None)}).model_dump_json().encode(),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / f"compare-{name}").mkdir()
        (tmp_path / f"compare-{name}" / "report.json").write_bytes(content)
    (tmp_path / "compare-folder" / "report.json").mkdir(parents=True)
    found = {run.run: run.not_comparable for run in read_earlier_runs(tmp_path, report)}
    assert set(found) == {f"compare-{name}" for name in (*contents, "folder")}
    assert found["compare-old"] == "written in format 1; this one is 2"
    assert found["compare-cut"] == found["compare-deep"] == "its report.json is not a whole report"
    assert found["compare-folder"] == f"cannot be read: {os.strerror(21)}"
    page = render_page(report, read_earlier_runs(tmp_path, report))
    assert "written in format 1" in page


def test_only_the_last_ten_are_shown(tmp_path: Path, report: Report) -> None:
    for days in range(1, 16):
        keep(tmp_path, report, days)
    found = read_earlier_runs(tmp_path, report)
    assert len(found) == MAX_RUNS and found[0].created == report.created - timedelta(days=1)


def test_the_written_report_shows_them(tmp_path: Path, report: Report) -> None:
    keep(tmp_path, report, 2, questions_digest="other")
    (tmp_path / report.run).mkdir()
    paths = write_reports(report, tmp_path / report.run)
    page, markdown = paths[1].read_text(), paths[2].read_text()
    assert 'id="earlier"' in page and "21 Nov 2026 *" in page and "other questions" in page
    assert "## Earlier runs" in markdown and "| 21 Nov 2026, 15:00 |" in markdown
