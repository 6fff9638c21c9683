"""Which questions count together: by every source, however it is spelled, over any number of steps."""

from evaluation.questions.question import Question
from evaluation.replies import Reply
from evaluation.results import Row
from evaluation.verdicts.sampling.clusters import clusters_of, clusters_of_questions, distinct_rows


def clusters(*sources: tuple[str, ...]) -> list[int]:
    rows = [
        Question(id=str(i), slice="s", question=f"Q {i}?", answers=("a",), sources=each)
        for i, each in enumerate(sources)
    ]
    return clusters_of_questions(rows).tolist()


def test_questions_without_a_source_count_by_themselves() -> None:
    assert clusters((), (), ("",), (" ", "./")) == [0, 1, 2, 3]


def test_spellings_of_one_document_are_one() -> None:
    assert clusters(("./a.md",), ("a.md",), ("A/../a.md",), ("b.md",), ("/a.md",)) == [0, 0, 0, 1, 0]


def test_a_question_with_several_sources_joins_their_questions() -> None:
    assert clusters(("a.md",), ("b.md",), ("c.md",), ("d.md",), ("c.md", "a.md")) == [0, 1, 0, 2, 0]
    assert clusters(("a.md", "b.md"), ("b.md", "c.md"), ("c.md", "d.md"), ("e.md",)) == [0, 0, 0, 1]
    assert clusters(("a.md", "a.md"), ("b.md",)) == [0, 1]


def test_a_repeated_question_joins_the_documents_of_all_its_ids() -> None:
    """Also where only a part of its ids was asked so far."""
    texts = {"q0": ("One?", "a.md"), "q1": ("Two?", "b.md"), "q2": ("Three?", "c.md"), "q3": ("one", "b.md")}
    questions = [
        Question(id=id, slice="s", question=text, answers=("a",), sources=(source,))
        for id, (text, source) in texts.items()
    ]
    rows = [Row(question=question, replies={"base": Reply()}) for question in questions]
    counted = distinct_rows(rows)
    assert [row.question.id for row in counted] == ["q0", "q1", "q2"] and clusters_of(counted).tolist() == [0, 0, 1]
    first = distinct_rows(rows[:3], questions)
    assert clusters_of(first).tolist() == [0, 0, 1] and clusters_of(distinct_rows(rows[:3])).tolist() == [0, 1, 2]
