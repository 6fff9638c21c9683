"""What a project keeps that was made from a document: kept answers, drafted questions, rows for `raft`, reports."""

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, Registry
from evaluation.asking.answer_cache import forget_answers
from evaluation.drafts.documents import Documents
from evaluation.drafts.draft_files import Draft, is_draft, read_drafts, write_drafts
from evaluation.questions.files import load_questions
from evaluation.questions.question import Question
from evaluation.questions.sources import document_name
from retrieval.index.forgetting.forgotten import read_list
from retrieval.sources.document import Origin
from tandem.pipeline.documents import forgotten
from tandem.project.project import Project

_RAFT = "raft/*.jsonl"


def forgotten_names(project: Project) -> set[str]:
    """Every name of what the collection has forgotten, also on another machine."""
    documents = read_list(project.storage.forgotten(project.collection))
    return {name for document in documents for name in document.names}


def remove_answers(project: Project, names: Collection[str]) -> int:
    """Remove what arms answered from documents, on this machine; returns the number of answers."""
    runs = project.storage.runs(project.name)
    files = [project.storage.answers(project.name), *runs.glob("*/answers.sqlite")]
    return sum(forget_answers(path, name) for path in files for name in names)


def remove_drafts(project: Project, names: Collection[str]) -> dict[Path, int]:
    """Remove drafted questions that were made from documents; returns their number by file.

    Drafts are looked for beside the project file and beside its questions.
    """
    questions = project.evaluation.questions
    folders = {project.path.parent, *({questions.parent} if questions else ())}
    removed: dict[Path, int] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.jsonl") if is_draft(path)):
        with contextlib.suppress(TandemError):  # `tandem questions approve` says what is wrong with it
            drafts = read_drafts(path)
            kept = [draft for draft in drafts if not _names_any(draft, names)]
            if kept:
                write_drafts(path, kept)
            else:
                path.unlink()
            removed[path] = len(drafts) - len(kept)
    return {path: number for path, number in removed.items() if number}


def remove_raft_rows(project: Project) -> int:
    """Remove the rows that were made for the arm `raft`, which hold passages of any document; returns the number of
    files. They are made anew from the index as it is then."""
    place, name = project.storage.place, project.name
    keys = place.glob(f"{name}/{_RAFT}")
    for key in keys:
        place.delete(key)
    local = [path for path in project.storage.runs(name).glob(_RAFT) if path.exists()]
    for path in local:
        path.unlink()
    return len({*keys, *(f"{name}/raft/{path.name}" for path in local)})


def named_in(project: Project, names: Collection[str]) -> list[str]:
    """Where documents are still named: questions files, training data of questions, and reports of runs, which are kept
    as they are."""
    return [*_questions_naming(project, names), *_reports_naming(project, names)]


def adapters_trained_on(project: Project, names: Collection[str]) -> list[str]:
    """Versions (name@number) that were trained on rows from documents, by their trained.jsonl."""
    registry = Registry.of(project.storage)
    versions = (version for name in registry.names() for version in registry.versions(name))
    return [f"{version.name}@{version.version}" for version in versions if _is_trained_on(version, names)]


def without_forgotten(project: Project, documents: Documents) -> Documents:
    """The documents of the sources without those that were forgotten, which are named among what is not read."""
    left_out = forgotten(project).read()
    gone = [
        each
        for each in documents.documents
        if left_out.find(each.source, Origin(str(each.path.parent), each.path.name)) or left_out.says(each.text)
    ]
    kept = tuple(each for each in documents.documents if each not in gone)
    not_read = (*documents.not_read, *(f"{each.source} (forgotten)" for each in gone))
    return replace(documents, documents=kept, not_read=not_read)


def _questions_naming(project: Project, names: Collection[str]) -> Iterator[str]:
    for path in filter(None, (project.evaluation.questions, project.evaluation.general)):
        with contextlib.suppress(TandemError, OSError):
            if number := sum(_names_any(question, names) for question in load_questions(path)):
                yield f"{number} question{'s' * (number > 1)} in {path.name}"


def _reports_naming(project: Project, names: Collection[str]) -> Iterator[str]:
    written = [json.dumps(name, ensure_ascii=each).encode() for name in names for each in (True, False)]
    for path in sorted(project.storage.runs(project.name).glob("*/report.json")):
        content = path.read_bytes()
        if any(name in content for name in written):
            yield f"the report of {path.parent.name}"


def _names_any(question: Question, names: Collection[str]) -> bool:
    span = question.span if isinstance(question, Draft) else None
    sources = {*question.sources, *([span.source] if span else [])}
    return bool({document_name(source) for source in sources} & {document_name(name) for name in names})


def _is_trained_on(version: AdapterVersion, names: Collection[str]) -> bool:
    with (version.path / "trained.jsonl").open(encoding="utf-8") as rows:
        return any({*json.loads(row)["sources"]} & {*names} for row in rows)
