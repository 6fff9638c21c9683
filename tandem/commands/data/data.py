"""`tandem data check`: formats, lengths as bars, duplicates, and rows with the trained tokens in colour."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console as RichConsole
from rich.text import Text

from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.compare.check import look_at_data
from tandem.console import Console
from tandem.project.project import load
from training.data.data_check import DataCheck, RenderedSequence, TokenLengths
from training.data.rows import MAX_LISTED_ROWS, list_bad_rows, refuse_bad_rows

_LEARNT = "bold green"
_BAR = 40


def check_data(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Check every training row and test question, and show which tokens are trained.

    Shows what is wrong with file and line, the lengths in tokens, duplicates, and some rows as they are trained.
    """
    console, project = Console(as_json), load(config)
    rows, num_questions = look_at_data(project, console.slow_progress)
    if rows and not as_json:
        print_rows(rows)
    if not rows or len(rows.bad) <= project.training.max_bad_rows:
        text = f"Every row that is not left out and {num_questions} questions can be used."
        console.result(text, to_json(rows, num_questions))
        return
    if as_json:
        console.result("", to_json(rows, num_questions))
    refuse_bad_rows(rows.bad, rows.num_read, project.training.max_bad_rows)


def print_rows(checked: DataCheck, output: RichConsole | None = None) -> None:
    """Print everything that was found; what is learnt stands in green, or in [[ ]] where there is no colour."""
    output = output or RichConsole(highlight=False)
    for text in _report(checked, coloured=output.color_system is not None):
        output.print(text, soft_wrap=True)


def to_json(checked: DataCheck | None, num_questions: int) -> dict[str, Any]:
    """The same as one JSON value; `num_rows` is the number of usable rows."""
    num_rows = checked.num_trained + checked.num_held_out if checked else 0
    return {"num_rows": num_rows, "num_questions": num_questions, **(asdict(checked) if checked else {})}


def _report(checked: DataCheck, coloured: bool) -> Iterator[Text]:
    for source in checked.sources:
        kind = f"{source.format or 'no format that is known'}, {source.container}"
        yield Text(f"{source.name}: {source.num_rows:,} rows, {kind}, weight {source.weight:g}")
        if source.not_used:
            yield Text(f"  not used: {', '.join(source.not_used)}")
    yield Text(f"{checked.num_trained:,} rows to train on, {checked.num_held_out:,} held out")
    if checked.num_by_label:
        yield Text("{:,} desired answers, {:,} undesired ones".format(*checked.num_by_label))
    if checked.lengths:
        yield from _lengths(checked.lengths)
    cut = checked.truncation
    if cut.num_rows:
        yield _warning(
            f"{cut.num_rows:,} rows are longer than {cut.accepted:,} tokens; cutting them there would lose "
            f"{cut.num_tokens:,} tokens"
        )
    if checked.num_rendered_chats:
        yield _warning(
            f"{checked.num_rendered_chats:,} texts hold the marks of a rendered conversation, whose questions are "
            "learnt like its answers; write the turns as `messages` and set `training.objective: sft` to learn the "
            "answers alone"
        )
    yield from _duplicates(checked)
    for rendered in checked.rendered:
        yield _row(rendered, coloured)
    for warning in checked.warnings:
        yield _warning(str(warning))
    if checked.bad:
        yield _warning(f"{len(checked.bad):,} rows cannot be used:{list_bad_rows(checked.bad)}")


def _lengths(lengths: TokenLengths) -> Iterator[Text]:
    share = lengths.num_learnt / lengths.num_tokens
    yield Text(
        f"\n{lengths.num_tokens:,} tokens in {lengths.num_sequences:,} sequences, {share:.0%} of them learnt; "
        f"length: min {lengths.min:,}, median {lengths.median:,}, p95 {lengths.p95:,}, max {lengths.max:,}"
    )
    if lengths.num_weighted:
        yield Text(f"{lengths.num_weighted:,} of the learnt tokens count more or less than others in the loss")
    most = max(each.num_rows for each in lengths.histogram)
    for each in lengths.histogram:
        bar = "█" * round(_BAR * each.num_rows / most)
        yield Text(f"{each.start:>7,} to {each.end - 1:<7,}{each.num_rows:>9,} {bar}")


def _duplicates(checked: DataCheck) -> Iterator[Text]:
    for exact, between, what in (
        (True, False, "repeat an earlier row"),
        (False, False, "nearly repeat an earlier row"),
        (True, True, "are held out and trained on"),
        (False, True, "are held out and nearly trained on"),
    ):
        same = [each for each in checked.duplicates if each.exact == exact and each.between == between]
        if same:
            pairs = "".join(
                f"\n  {each.where} = {each.like} ({each.similarity:.2f})" for each in same[:MAX_LISTED_ROWS]
            )
            more = f"\n  and {len(same) - MAX_LISTED_ROWS:,} more" if len(same) > MAX_LISTED_ROWS else ""
            yield _warning(f"{len(same):,} rows {what}:{pairs}{more}")


def _row(rendered: RenderedSequence, coloured: bool) -> Text:
    text = Text(f"\n{rendered.where}\n", style="dim" if coloured else "")
    for piece, learnt in rendered.pieces:
        if coloured:
            text.append(piece, style=_LEARNT if learnt else "not dim")
        else:
            text.append(f"[[{piece}]]" if learnt else piece)
    return text


def _warning(text: str) -> Text:
    return Text("\nWarning: ", style="bold yellow").append(text, style="not bold default")
