"""Judged questions: which sources answer each of them, and how well.

    judged = read(Path("questions.jsonl"))                       # a project's own questions
    judged = read(Path("nfcorpus"))                              # a BEIR folder, which brings its documents
    judged = read(Path("topics.txt"), qrels=Path("qrels.txt"))   # TREC

A BEIR folder's documents become files (`write_documents`), so that they are cut and embedded as any others are.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from cluster.errors import TandemError

MAX_SHOWN = 10
MAX_NAME_LENGTH = 255
QUESTIONS = 'Accepted are lines of JSON such as {"id": "1", "question": "...", "sources": ["faq.md"]}.'
BEIR = (
    'A BEIR folder holds corpus.jsonl with lines {"_id", "title", "text"}, queries.jsonl with {"_id", "text"}, and '
    "qrels/test.tsv with query, document and grade between tabs."
)
TREC = (
    "Topics are `number <tab> question` or <top> with <num> and <title>; qrels are `topic iteration document grade`, "
    "where a document is the name of a source."
)


@dataclass(frozen=True)
class JudgedQuestion:
    id: str
    question: str
    grades: dict[str, int]
    """By source, 1 (relevant) and up; what is not relevant is left out."""


@dataclass(frozen=True)
class JudgedSet:
    questions: list[JudgedQuestion]
    """Those with a relevant source."""

    num_without: int
    """Questions that have none, and are left out: no ranking of theirs is better than another."""

    corpus: Path | None = None
    """A BEIR folder's corpus.jsonl: the collection that the questions were judged on."""


def read_judgments(path: Path, qrels: Path | None = None) -> JudgedSet:
    """Read judged questions: a JSONL file, a BEIR folder, or a TREC topics file where `qrels` is given.

    Raises:
        TandemError: naming file and line of the first ten mistakes, or there is no question with a relevant source.
    """
    if qrels is not None:
        judged = _read_trec(path, qrels)
    elif path.is_dir():
        judged = _read_beir(path)
    else:
        judged = _read_questions(path)
    if not judged.questions:
        raise TandemError(
            f"No question of {path} has a relevant source.",
            "A measurement takes questions of which it is known where the answer stands.",
            "Name the sources that answer each question.",
        )
    return judged


def write_documents(corpus: Path, folder: Path) -> int:
    """Write each document of a BEIR corpus as a Markdown file named `source_of(id)`; returns how many.

    Raises:
        TandemError: a line cannot be used.
    """
    mistakes, seen = _Mistakes(BEIR), dict[str, int]()
    for number, line in _lines(corpus, BEIR):
        document = _parsed(_Document, corpus, number, line, mistakes)
        if document is None or not mistakes.is_new(document.id, seen, corpus, number):
            continue
        name = source_of(document.id)
        if len(name) > MAX_NAME_LENGTH:
            mistakes.add(corpus, number, f"the id {document.id[:40]}... is too long for a file's name")
            continue
        title = f"# {' '.join(document.title.split())}\n\n" if document.title.strip() else ""
        (folder / name).write_text(title + document.text, encoding="utf-8")
    mistakes.refuse()
    return len(seen)


def source_of(document_id: str) -> str:
    """The name of a BEIR document's file, in which no character of the id means anything to a file system."""
    return re.sub(r"^\.", "%2E", quote(document_id, safe="")) + ".md"


Line = TypeVar("Line", bound=BaseModel)


class _Question(BaseModel):
    id: str | int | None = None
    question: Annotated[str, Field(pattern=r"\S")]
    sources: list[str] = []


class _Query(BaseModel):
    id: str = Field(alias="_id", min_length=1)
    text: Annotated[str, Field(pattern=r"\S")]


class _Document(BaseModel):
    id: str = Field(alias="_id", min_length=1)
    title: str = ""
    text: str


@dataclass
class _Mistakes:
    """What is wrong with a file, collected so that all of it can be corrected at once."""

    accepted: str
    found: list[str] = field(default_factory=list)

    def add(self, path: Path, line: int, reason: str) -> None:
        self.found.append(f"{path}:{line}: {reason}")

    def is_new(self, key: str, seen: dict[str, int], path: Path, line: int) -> bool:
        """False, and a mistake, where an earlier line has the same key."""
        if key in seen:
            self.add(path, line, f"{key!r} stands in line {seen[key]} too")
        return seen.setdefault(key, line) == line

    def refuse(self) -> None:
        if not self.found:
            return
        more = len(self.found) - MAX_SHOWN
        shown = "; ".join(self.found[:MAX_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise TandemError(f"{shown}.", self.accepted, "Correct these lines.")


def _read_questions(path: Path) -> JudgedSet:
    mistakes, seen, questions, num_without = _Mistakes(QUESTIONS), dict[str, int](), list[JudgedQuestion](), 0
    for number, line in _lines(path, QUESTIONS):
        question = _parsed(_Question, path, number, line, mistakes)
        if question is None:
            continue
        key = str(number if question.id is None else question.id)
        if not mistakes.is_new(key, seen, path, number):
            continue
        if question.sources:
            questions.append(JudgedQuestion(key, question.question, dict.fromkeys(question.sources, 1)))
        else:
            num_without += 1
    mistakes.refuse()
    return JudgedSet(questions, num_without)


def _read_beir(folder: Path) -> JudgedSet:
    queries, mistakes, seen = folder / "queries.jsonl", _Mistakes(BEIR), dict[str, int]()
    corpus = folder / "corpus.jsonl"
    if not corpus.is_file():
        raise TandemError(f"The folder {folder} holds no corpus.jsonl.", BEIR, "Name a folder that holds all three.")
    texts: dict[str, str] = {}
    for number, line in _lines(queries, BEIR):
        query = _parsed(_Query, queries, number, line, mistakes)
        if query is not None and mistakes.is_new(query.id, seen, queries, number):
            texts[query.id] = query.text
    grades = _grades(folder / "qrels" / "test.tsv", _beir_judgement, texts, mistakes)
    mistakes.refuse()
    named = {query: {source_of(key): grade for key, grade in graded.items()} for query, graded in grades.items()}
    # A queries file serves every split; those that this one does not judge are not left out, they are another's.
    return _judged({query: texts[query] for query in named}, named, corpus)


def _read_trec(topics: Path, qrels: Path) -> JudgedSet:
    mistakes, seen, texts = _Mistakes(TREC), dict[str, int](), dict[str, str]()
    for number, key, text in _topics(topics, mistakes):
        if mistakes.is_new(key, seen, topics, number):
            texts[key] = text
    grades = _grades(qrels, _trec_judgement, texts, mistakes)
    mistakes.refuse()
    return _judged(texts, grades)


def _judged(texts: dict[str, str], grades: dict[str, dict[str, int]], corpus: Path | None = None) -> JudgedSet:
    relevant = {key: {source: grade for source, grade in grades.get(key, {}).items() if grade > 0} for key in texts}
    questions = [JudgedQuestion(key, texts[key], relevant[key]) for key in texts if relevant[key]]
    return JudgedSet(questions, len(texts) - len(questions), corpus)


def _topics(path: Path, mistakes: _Mistakes) -> Iterator[tuple[int, str, str]]:
    """Line, number and question of each topic, in either form."""
    text = _text(path, TREC)
    if "<top>" in text:
        yield from _tagged_topics(path, text, mistakes)
        return
    for number, line in _lines(path, TREC):
        key, tab, text = line.partition("\t")
        if tab and key.strip() and text.strip():
            yield number, key.strip(), text.strip()
        else:
            mistakes.add(path, number, "has no number and question with a tab between them")


def _tagged_topics(path: Path, text: str, mistakes: _Mistakes) -> Iterator[tuple[int, str, str]]:
    for topic in re.finditer(r"<top>(.*?)(?=<top>|\Z)", text, re.DOTALL):
        line = text.count("\n", 0, topic.start()) + 1
        number = re.search(r"<num>(?:\s*Number:)?\s*([^\s<]+)", topic[1])
        title = re.search(r"<title>(?:\s*Topic:)?\s*([^<]*[^<\s])", topic[1])
        if number and title:
            yield line, number[1], " ".join(title[1].split())
        else:
            mistakes.add(path, line, f"the topic has no <{'title' if number else 'num'}>")


Judgement = Callable[[str, int], tuple[str, str, str] | None]
"""A line and its number to question, document and grade; an empty grade where it is not one, None for a heading."""


def _grades(path: Path, judgement: Judgement, known: dict[str, str], mistakes: _Mistakes) -> dict[str, dict[str, int]]:
    """Grades by question and document."""
    grades: dict[str, dict[str, int]] = {}
    for number, line in _lines(path, mistakes.accepted):
        fields = judgement(line, number)
        if fields is None:
            continue
        question, document, grade = fields
        if not re.fullmatch(r"-?\d+", grade):
            mistakes.add(path, number, f"{line.strip()[:80]!r} does not end in a grade")
        elif question not in known:
            mistakes.add(path, number, f"judges the question {question!r}, which is not there")
        elif grades.setdefault(question, {}).setdefault(document, int(grade)) != int(grade):
            mistakes.add(path, number, f"{question!r} and {document!r} have been given another grade before")
    return grades


def _beir_judgement(line: str, number: int) -> tuple[str, str, str] | None:
    """Most of these files begin with a heading."""
    fields = [part.strip() for part in line.split("\t")]
    if number == 1 and fields[-1] == "score":
        return None
    return (fields[0], fields[1], fields[2]) if len(fields) == 3 else ("", "", "")


def _trec_judgement(line: str, number: int) -> tuple[str, str, str] | None:
    fields = line.split()
    return (fields[0], fields[2], fields[3]) if len(fields) == 4 else ("", "", "")


def _parsed(model: type[Line], path: Path, number: int, line: str, mistakes: _Mistakes) -> Line | None:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        details = error.errors(include_url=False)
        reasons = (f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}".lstrip(": ") for detail in details)
        mistakes.add(path, number, "; ".join(reasons))
        return None


def _lines(path: Path, accepted: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    for number, line in enumerate(_text(path, accepted).split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _text(path: Path, accepted: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TandemError(f"{path} cannot be read ({error.strerror}).", accepted, "Correct the path.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TandemError(f"{path}:{line}: the text is not UTF-8.", accepted, "Save the file as UTF-8.") from error
