"""What an answer's citations are worth: by document for right, precision and recall, by passage for grounding.

- `cited_right`: a passage that the answer cites comes from one of the question's sources. `retrieved_right`: one of the
  passages put in front of the question does, cited or not.
- `precision`: of the documents cited, the share that are sources; `recall`: of the sources, the share that were cited
  (Gao et al., 2023, arXiv 2305.14627, there by statement). A document cited twice counts once, and one that says the
  same as a source (`also_in`) counts as that source.
- `grounded`: a cited passage holds an accepted value: its words one after the other, an equal number, date or time, a
  number within the tolerance, or text that the pattern fits. An answer that cites nothing though it
  could is not grounded.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from evaluation.grading.values.holding import holds_value
from evaluation.questions.question import Question
from evaluation.questions.sources import document_name, same_document
from evaluation.questions.words import plain_passage
from evaluation.replies import CitedSource


@dataclass(frozen=True)
class CitationGrade:
    """The fields of a grade that are about citations; None where there is nothing to judge."""

    cited_right: bool | None = None
    retrieved_right: bool | None = None
    precision: float | None = None
    recall: float | None = None
    grounded: bool | None = None


def judge_citations(question: Question, citations: Sequence[CitedSource], retrieves: bool) -> CitationGrade:
    """Judge the citations of one answer. The single letter of a multiple choice cannot cite, so only the passages
    that were retrieved for it are judged."""
    judged = retrieves and any(map(document_name, question.sources))
    retrieved_right = _any_from_source(question, citations) if judged else None
    if question.kind == "choice":
        return CitationGrade(retrieved_right=retrieved_right)
    cited = [citation for citation in citations if citation.cited]
    return CitationGrade(
        cited_right=_any_from_source(question, cited) if judged else None,
        retrieved_right=retrieved_right,
        precision=_precision(question, cited) if judged and cited else None,
        recall=_recall(question, cited) if judged else None,
        grounded=_grounded(question, citations, retrieves),
    )


def _any_from_source(question: Question, citations: Sequence[CitedSource]) -> bool:
    return any(_is_source(question, _names(citation)) for citation in citations)


def _precision(question: Question, cited: Sequence[CitedSource]) -> float:
    documents: dict[str, list[str]] = {}
    for citation in cited:
        documents.setdefault(document_name(citation.source), []).extend(_names(citation))
    return sum(_is_source(question, names) for names in documents.values()) / len(documents)


def _recall(question: Question, cited: Sequence[CitedSource]) -> float:
    names = [name for citation in cited for name in _names(citation)]
    sources = {name for source in question.sources if (name := document_name(source))}
    return sum(any(same_document(name, source) for name in names) for source in sources) / len(sources)


def _names(citation: CitedSource) -> list[str]:
    return [citation.source, *citation.also_in]


def _is_source(question: Question, names: Sequence[str]) -> bool:
    return any(same_document(name, source) for name in names for source in question.sources)


def _grounded(question: Question, citations: Sequence[CitedSource], retrieves: bool) -> bool | None:
    """None without a value to hold, without the text of a passage, or where an arm without retrieval cites nothing."""
    if not question.answers or question.kind == "json" or all(citation.text is None for citation in citations):
        return None
    cited = [citation for citation in citations if citation.cited]
    if not cited:
        return False if retrieves else None
    if any(citation.text is not None and _holds_value(question, citation.text) for citation in cited):
        return True
    return None if any(citation.text is None for citation in cited) else False


def _holds_value(question: Question, passage: str) -> bool:
    if question.kind == "regex":
        return any(_anywhere(pattern).search(plain_passage(passage)) for pattern in question.answers)
    return holds_value(question, passage)


@lru_cache(maxsize=4_096)
def _anywhere(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{pattern})(?!\S)", re.IGNORECASE)
