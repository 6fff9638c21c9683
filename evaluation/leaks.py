"""No test question may stand in what an adapter was trained on.

What it was trained on comes by file: `trained.jsonl` in the published version, one JSON object per training row with
`question_sha256`: the `cluster.digests.digest_question` of the row's user question, or a list of them, one a turn.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.digests import digest_question
from cluster.errors import TandemError
from evaluation.questions import Question

MOST_PAIRS_NAMED = 10


@dataclass(frozen=True)
class Leak:
    """A test question that was trained on, and the training row: its id where it has one, else its line."""

    question: Question
    row: str


def leaked(questions: Sequence[Question], trained: Path) -> list[Leak]:
    """Test questions whose wording was trained on, up to case, spacing and Unicode form.

    Raises:
        TandemError: where the file cannot be read.
    """
    rows = _rows_by_digest(trained)
    digests = ((question, digest_question(question.question)) for question in questions)
    return [Leak(question, rows[digest]) for question, digest in digests if digest in rows]


def refuse_leaks(questions: Sequence[Question], trained: Path) -> None:
    """Raise a TandemError that names the pairs where a test question was trained on."""
    leaks = leaked(questions, trained)
    if not leaks:
        return
    pairs = "; ".join(f"{leak.question.id} is training row {leak.row}" for leak in leaks[:MOST_PAIRS_NAMED])
    more = f"; and {len(leaks) - MOST_PAIRS_NAMED} more" if len(leaks) > MOST_PAIRS_NAMED else ""
    raise TandemError(
        f"{len(leaks)} of {len(questions)} test questions were trained on: {pairs}{more}.",
        "Training must not have seen a test question: the tuned arms would be measured on what they learnt by heart.",
        "Take these questions out of the training data and train again, or out of the test questions.",
    )


def _rows_by_digest(trained: Path) -> dict[str, str]:
    try:
        lines = trained.read_text().splitlines()
    except OSError as error:
        raise _unreadable(f"{trained} cannot be read ({error.strerror}).") from error
    rows: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            digests = row["question_sha256"]
        except (ValueError, LookupError, TypeError) as error:
            raise _unreadable(f"{trained}:{number} holds no question_sha256.") from error
        for digest in [digests] if isinstance(digests, str) else digests:
            rows.setdefault(digest, str(row.get("id") or f"in line {number}"))
    return rows


def _unreadable(seen: str) -> TandemError:
    accepted = "An adapter's version lists what it was trained on."
    return TandemError(seen, accepted, "Train and publish the adapter again.")
