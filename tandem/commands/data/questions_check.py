"""`tandem questions check`: what is wrong with the questions that a project tests with."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from cluster.registry.registry import Registry
from evaluation.drafts.check import check_question_set as check_all
from evaluation.drafts.check import describe_check
from evaluation.drafts.documents import Documents, read_documents
from evaluation.drafts.draft_files import refuse_draft
from evaluation.questions.files import load_questions
from evaluation.questions.leaks import raise_for_leaks as refuse_leaks
from evaluation.questions.leaks import read_trained_rows
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import Project, load
from training.data.rows import read_rows
from training.publish.publish import trained_row


def check_questions(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Check the test questions for duplicates, outdated answers and leaks.

    An answer is outdated where it is gone from the documents; a question leaks where it was trained on.
    """
    project, console = load(config), Console(as_json)
    files = _question_files(project)
    for file in filter(None, files):
        refuse_draft(file)
    questions = [question for file in files for question in load_questions(file)]
    documents = read_documents(project.retrieval) if project.retrieval.sources else Documents((), ())
    checked = check_all(questions, documents, _trained_rows(project))
    leaks = [
        {"question": leak.question.id, "row": leak.row, "kind": leak.kind, "similarity": leak.similarity}
        for leak in checked.leaks
    ]
    console.result("\n".join(describe_check(checked)), asdict(checked) | {"leaks": leaks})
    refuse_leaks(checked.leaks, len(questions))


def _question_files(project: Project) -> list[Path | None]:
    """The questions, and those on what the model knew before where there are any."""
    general = project.evaluation.general
    return [project.evaluation.questions, *([general] if general else [])]


def _trained_rows(project: Project) -> Iterator[dict[str, Any]]:
    """What would be trained on, and what the newest version of the project's adapter was trained on."""
    rows = map(trained_row, read_rows(project.training).rows) if project.training.data else iter(())
    registry = Registry.of(project.storage)
    versions = registry.versions(project.adapter) if project.adapter in registry.names() else []
    files = [version.path / "trained.jsonl" for version in versions[-1:]]
    return chain(rows, *(read_trained_rows(file) for file in files if file.exists()))
