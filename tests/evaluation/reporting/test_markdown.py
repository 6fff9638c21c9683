"""report.md and the README's table: whatever a report holds, Markdown shows it as text."""

import re
from pathlib import Path

import pytest

from cluster.errors import TandemError
from evaluation.reporting.markdown import escaped, make_markdown
from evaluation.reporting.readme_table import END, START, main, put_between_the_marks, readme_table
from tests.evaluation.reports import REMARK, make_report


def tables(text: str) -> list[list[str]]:
    """Runs of lines that begin with a bar."""
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)]


def num_cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1


def test_every_table_has_as_many_cells_in_each_line() -> None:
    text = make_markdown(make_report(48, hostile=True))
    found = tables(text)
    assert len(found) >= 8
    for lines in found:
        assert {num_cells(line) for line in lines} == {num_cells(lines[0])}
        assert re.fullmatch(r"\|(?: -+:? \|)+", lines[1])


def test_the_answer_comes_first_and_the_reasons_of_failures_are_there() -> None:
    text = make_markdown(make_report(48))
    assert text.startswith(
        "# Use tuned for retrieval.\n\ntuned for retrieval answers 90 % (85 to 94) of 48 questions right."
    )
    assert "```yaml\nserving:\n  preload: [helpdesk]\nretrieval:" in text
    assert "× the endpoint answered 503" in text and "× the judge did not answer" in text
    assert "| **tuned for retrieval** |" in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a | b", "a \\| b"),
        ("<script>&", "&lt;script&gt;&amp;"),
        ("line\n| --- |", "line \\| --- \\|"),
        ("[x](http://y.org) *b* _c_ `d`", "\\[x\\](http:&#47;&#47;y.org) \\*b\\* \\_c\\_ \\`d\\`"),
        ("back\\|slash", "back\\\\\\|slash"),
        ("@someone #1", "\\@someone \\#1"),
    ],
)
def test_nothing_that_is_given_means_anything_to_markdown(given: str, shown: str) -> None:
    assert escaped(given) == shown


def test_a_very_long_reason_is_cut() -> None:
    assert len(escaped("word " * 20_000)) < 700


def test_no_explanation_of_a_table_is_cut() -> None:
    assert "…" not in make_markdown(make_report(60))


def test_lines_for_the_project_file_cannot_end_their_block() -> None:
    report = make_report(8)
    recommendation = report.recommendation.model_copy(update={"adopt": "a: |\n  ```\n  # Heading\n"})
    text = make_markdown(report.model_copy(update={"recommendation": recommendation}))
    assert "````yaml\na: |\n  ```\n  # Heading\n````" in text


def test_the_readme_table_has_a_line_for_each_arm_and_money_where_it_is_known() -> None:
    report = make_report(24)
    (lines,) = tables(readme_table(report))
    assert len(lines) == 2 + 7
    assert lines[0] == "| arm | seen | unseen | form | general | all (95 % interval) | failed | p50 | an answer |"
    assert lines[2].startswith("| base | 17 % |") and lines[2].endswith("| USD 0.00017 |")
    assert lines[7].startswith("| **tuned for retrieval** |")
    assert readme_table(report).endswith(f"Use tuned for retrieval. {REMARK}")
    free = [cost.model_copy(update={"answer_money": None}) for cost in report.costs]
    assert "an answer" not in readme_table(report.model_copy(update={"costs": free}))


def test_the_command_replaces_what_is_between_the_marks_and_nothing_else(tmp_path: Path) -> None:
    report, readme = make_report(24), tmp_path / "README.md"
    (tmp_path / "report.json").write_text(report.model_dump_json())
    readme.write_text(f"# Title\n\n{START}\nold\n{END}\nafter\n")
    for _ in range(2):
        assert main([str(tmp_path / "report.json"), str(readme)]) == 0
        assert readme.read_text() == f"# Title\n\n{START}\n{readme_table(report)}\n{END}\nafter\n"


def test_the_command_reads_a_report_from_before_an_arm_was_renamed(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    assert main([str(Path(__file__).parent / "report_with_hybrid.json"), str(readme)]) == 0
    assert "| **tuned + retrieval** |" in readme.read_text() and "hybrid" not in readme.read_text()


@pytest.mark.parametrize("text", ["", START, f"{END}\n{START}", f"{START}{START}{END}", f"{START}{END}{END}"])
def test_a_readme_without_its_marks_is_left_alone(text: str) -> None:
    with pytest.raises(TandemError, match="once each"):
        put_between_the_marks(text, "table")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{START}{END}")
    assert main([str(tmp_path / "none.json"), str(readme)]) == 2
    (tmp_path / "bad.json").write_text('{"schema_version": 1}')
    assert main([str(tmp_path / "bad.json"), str(readme)]) == 2
    said = capsys.readouterr().err
    assert "none.json cannot be read" in said and "bad.json is not a report of this version" in said
    assert readme.read_text() == f"{START}{END}"
