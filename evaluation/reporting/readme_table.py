"""The table of a README, made from a report so that it cannot say anything else:

    python -m evaluation.reporting.readme_table runs/demo/compare-.../report.json README.md

puts it between `<!-- results:start -->` and `<!-- results:end -->`.
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from evaluation.questions.question import OVERALL
from evaluation.reporting.markdown import escaped, table_of
from evaluation.reporting.wording import format_interval, format_money, format_percent, format_seconds
from evaluation.results import ArmResult, Report

MAX_SLICES = 6
START, END = "<!-- results:start -->", "<!-- results:end -->"


def readme_table(report: Report) -> str:
    """An arm a line: right answers by slice and over all with the interval, failed calls, p50, and money if known.

    Below it: how many questions, the verdict, and the project's own remarks (`evaluation.remarks`).
    """
    priced = {cost.arm: cost for cost in report.costs if cost.answer_money is not None}
    headings = [
        "arm",
        *map(escaped, _slices(report)),
        "all (95 % interval)",
        "failed",
        "p50",
        *(["an answer"] if priced else []),
    ]
    lines = [_line(report, arm, headings) for arm in report.arms]
    if priced:
        for line, arm in zip(lines, report.arms, strict=True):
            cost = priced.get(arm.name)
            line.append(escaped(format_money(cost.answer_money, cost.currency)) if cost else "")
    number = report.cell(report.arms[0].name, OVERALL).num_questions
    caption = f"{number:,} questions, {report.created:%-d %B %Y}. {escaped(report.recommendation.headline)}"
    return f"{table_of(headings, lines)}\n\n{' '.join([caption, *map(escaped, report.config.remarks)])}"


def put_between_the_marks(text: str, table: str) -> str:
    """The README's text with the table in the place of what stood between the two marks.

    Raises:
        TandemError: the marks are missing, or not there once each and in order.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in after or END in before:
        raise TandemError(
            f"The file does not hold {START} and then {END} once each.",
            "Both marks, each on a line of its own; what is between them is replaced.",
            "Add the two lines where the table should stand.",
        )
    return f"{before}{START}\n{table}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Replace the table in a file; 2 where that cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.reporting.readme_table", description=__doc__)
    parser.add_argument("report", type=Path, metavar="REPORT.json")
    parser.add_argument("readme", type=Path, metavar="README.md")
    given = parser.parse_args(arguments)
    try:
        table = readme_table(_read(given.report))
        write_atomically(given.readme, put_between_the_marks(_text(given.readme), table))
    except TandemError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _line(report: Report, arm: ArmResult, headings: list[str]) -> list[str]:
    cell = report.cell(arm.name, OVERALL)
    by_slice = [format_percent(report.cell(arm.name, name).accuracy.share) for name in _slices(report)]
    words = [
        escaped(arm.title),
        *by_slice,
        format_interval(cell.accuracy),
        str(cell.num_failed),
        format_seconds(cell.latency_p50_s),
    ]
    return [f"**{word}**" for word in words] if arm.name == report.recommendation.arm else words


def _slices(report: Report) -> list[str]:
    """The slices, where they are few enough for a line."""
    return report.slices if len(report.slices) <= MAX_SLICES else []


def _read(path: Path) -> Report:
    try:
        return Report.model_validate_json(_text(path))
    except ValidationError as error:
        raise TandemError(
            f"{path} is not a report of this version ({error.error_count()} mistakes).",
            "A report.json that `tandem compare` wrote.",
            "Run `tandem compare` again.",
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise TandemError(f"{path} cannot be read: {reason}.", "A text file.", "Check the path.") from error


if __name__ == "__main__":
    sys.exit(main())
