"""Draft questions: a file that a person goes through line by line before anything is measured with it.

A line has a question's keys and up to four more: `approved` (null until somebody said true or false), `span`, where in
which document the answer was found, and what a model answered with and without that passage.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cluster.config import Section
from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from evaluation.questions.question import MAY_BE_UNANSWERABLE, Question

FACTS, PROSE, UNANSWERABLE = "facts", "prose", "unanswerable"
ACCEPTED = "A draft is JSONL, with a question's keys and `approved` (true, false or null) in each line."


class Span(Section):
    """A piece of a document: `text[start:end]` of its characters."""

    source: str
    """The document, as a path relative to the sources' folder."""

    start: int
    """Number of the first character, from 0."""

    end: int
    """Number of the character behind the last."""


class Draft(Question):
    """A question that nobody may have looked at yet."""

    approved: bool | None = None
    """Whether a person took it; None where nobody has decided yet."""

    span: Span | None = None
    """Where the answer stands; of an unanswerable question, what it asks about."""

    with_passage: str | None = None
    """What the model answered when it was shown the passage, where a model drafted the question."""

    without_passage: str | None = None
    """What it answered without the passage."""

    def as_question(self) -> Question:
        """The question without what a draft has beside it."""
        return Question.model_validate(self.model_dump(exclude_unset=True, exclude=set(BESIDE)))


BESIDE = ("approved", "span", "with_passage", "without_passage")
# What was generated for a field, and says nothing any more once a person has changed that field.
FITS_ONLY: dict[str, tuple[str, ...]] = {
    "question": ("reference", "paraphrases", "with_passage", "without_passage"),
    "answers": ("reference", "span", "with_passage", "without_passage"),
    "sources": ("reference", "span", "with_passage", "without_passage"),
    "slice": (),
}


def edit_draft(draft: Draft, **changes: Any) -> Draft:
    """The draft with other values of `question`, `answers`, `sources` or `slice`, and without what fitted only the old.

    Answers make an unanswerable question an answerable one, and no answers the reverse: a slice that was named for it
    is then another. A value that stays the same clears nothing; an edited draft is to be decided on.

    Raises:
        ValidationError: the changed draft is no question.
    """
    changed = {name: value for name, value in changes.items() if value != getattr(draft, name)}
    cleared = {field for name in changed for field in FITS_ONLY[name]}
    if changed.get("answers") == ():
        cleared |= {"form", "tolerance", "tolerance_percent"}
    may_refuse = draft.kind in MAY_BE_UNANSWERABLE
    if may_refuse and "answers" in changed and bool(changed["answers"]) != draft.answerable:
        changed["answerable"] = bool(changed["answers"])
        if draft.slice in (FACTS, PROSE, UNANSWERABLE) and "slice" not in changed:
            changed["slice"] = FACTS if changed["answers"] else UNANSWERABLE
    values = draft.model_dump(exclude_unset=True, exclude=cleared) | changed
    return Draft.model_validate(values | ({"approved": None} if changed else {}))


def is_draft(path: Path) -> bool:
    """Whether a file of questions is one of drafts, to be told by `approved` in its first line."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            first = json.loads(next((line for line in lines if line.strip()), "null"))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "approved" in first


def refuse_draft(path: Path) -> None:
    """Raise a TandemError that says what to do where a questions file is a draft."""
    if is_draft(path):
        raise TandemError(
            f"{path} is a draft: its questions have not been taken over yet.",
            "Questions that a person approved, in a file of their own.",
            f"Run `tandem questions approve {path}`, then `tandem questions accept {path} --out questions.jsonl`.",
        )


def read_drafts(path: Path) -> list[Draft]:
    """The drafts of a file, in its order.

    Raises:
        TandemError: it cannot be read, or a line (named by its number) is no draft.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TandemError(f"The draft {path} cannot be read ({reason}).", ACCEPTED, "Check the path.") from error
    drafts = [_draft(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not drafts:
        raise TandemError(f"The draft {path} holds no questions.", ACCEPTED, "Run `tandem questions build`.")
    return drafts


def write_drafts(path: Path, drafts: Sequence[Draft]) -> None:
    """Write the whole file; readers see the old one or the new one."""
    rows = (draft.model_dump(mode="json", exclude_unset=True) | {"approved": draft.approved} for draft in drafts)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def approved_questions(path: Path) -> list[Question]:
    """The questions of a draft that were approved.

    Raises:
        TandemError: some have not been decided on, or none was approved.
    """
    drafts = read_drafts(path)
    if waiting := [draft.id for draft in drafts if draft.approved is None]:
        raise TandemError(
            f"{len(waiting)} of {len(drafts)} questions in {path} have not been decided on: "
            f"{', '.join(waiting[:10])}{', ...' if len(waiting) > 10 else ''}.",
            "Each has `approved`: true or false.",
            f"Run `tandem questions approve {path}`: it goes on where you stopped.",
        )
    taken = [draft.as_question() for draft in drafts if draft.approved]
    if not taken:
        raise TandemError(f"No question in {path} was approved.", "One at least.", "Approve some, or build others.")
    return taken


def _draft(line: str, where: str) -> Draft:
    try:
        return Draft.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise TandemError(f"{where}: {field}: {reason}.", ACCEPTED, "Correct that line.") from error
