"""Questions as rows of a ragas dataset (JSON lines): user_input, reference, reference_contexts, and where a comparison
has answered them response and retrieved_contexts. The names are those of ragas' SingleTurnSample (0.4.3).

    from ragas import EvaluationDataset
    dataset = EvaluationDataset.from_jsonl("ragas.jsonl")
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.exports.export import Export
from evaluation.grading.choices import lettered_wording
from evaluation.questions.question import Question
from evaluation.replies import Reply

UNKNOWN = "The documents do not say."
NO_REFERENCE = {
    "regex": "ragas needs a reference in words, and the accepted answers are patterns",
    "json": "ragas needs a reference in words, and any JSON that the schema accepts is right",
    "rubric": "ragas needs a reference in words, and the question has only a rubric",
}


def export_ragas(
    questions: Sequence[Question],
    file: str,
    texts_of: Callable[[str], Sequence[str]] | None = None,
    replies: Mapping[str, Reply] | None = None,
) -> Export:
    """One file of rows.

    Args:
        file: its name.
        texts_of: the texts of the documents of a source; without it there are no reference_contexts.
        replies: an arm's reply by question id; a row has a `response` where its question was answered.
    """
    export, rows, missing = Export("ragas"), [], []
    for question in questions:
        reference = reference_of(question)
        if reference is None:
            export.leave_out(question, NO_REFERENCE[question.kind])
            continue
        row: dict[str, Any] = {"user_input": _asked(question), "reference": reference}
        if question.sources:
            row["reference_context_ids"] = list(question.sources)
        if texts_of and question.sources:
            if texts := [text for source in question.sources for text in texts_of(source)]:
                row["reference_contexts"] = texts
            else:
                missing.append(question.id)
        rows.append(row | (_answered(replies[question.id]) if replies and question.id in replies else {}))
    export.num_exported = len(rows)
    # In ASCII: ragas opens the file in the encoding of the machine.
    export.files = {file: "".join(json.dumps(row) + "\n" for row in rows)} if rows else {}
    export.notes += _notes(rows, questions, missing, texts_of is not None, replies is not None)
    export.note_paraphrases(questions)
    return export


def reference_of(question: Question) -> str | None:
    """The right answer in words; None where there is none."""
    if not question.answerable:
        return question.reference or UNKNOWN
    if question.reference or question.kind in ("regex", "rubric"):
        return question.reference
    return question.answers[0] if question.answers else None


def _asked(question: Question) -> str:
    return lettered_wording(question) if question.kind == "choice" else question.question


def _answered(reply: Reply) -> dict[str, Any]:
    if reply.text is None:
        return {}
    passages = [(each.source, each.text) for each in reply.citations if each.text is not None]
    if not passages:
        return {"response": reply.text}
    ids, texts = ([each[place] for each in passages] for place in (0, 1))
    return {"response": reply.text, "retrieved_contexts": texts, "retrieved_context_ids": ids}


def _notes(
    rows: Sequence[Mapping[str, Any]], questions: Sequence[Question], missing: Sequence[str], reads: bool, asked: bool
) -> list[str]:
    notes = []
    if not reads and any(question.sources for question in questions):
        notes.append("Without documents there are no reference_contexts: name the project file (-c).")
    if missing:
        notes.append(f"No document was found for the sources of {', '.join(missing)}: no reference_contexts there.")
    if not asked:
        notes.append("There is no response: name a comparison and an arm (--run, --arm), or fill it in.")
    elif number := sum("response" not in row for row in rows):
        notes.append(f"{number:,} questions have no response: the arm did not answer them.")
    if any(len(question.answers) > 1 for question in questions):
        notes.append("ragas takes one reference: where several answers are accepted, it is the first.")
    return notes
