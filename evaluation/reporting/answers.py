"""Every question with all arms' answers side by side, as the page holds them: some as HTML, the others as data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluation.config import ArmName
from evaluation.replies import Reply
from evaluation.reporting.plots import dot
from evaluation.reporting.wording import FAILURE_WORDS, answer_mark, failure_shown, retrieving_arms, source_mark
from evaluation.results import Report, Row

if TYPE_CHECKING:
    from jinja2 import Template

NUM_IN_THE_PAGE = 200
MARKS = ("right", "wrong", "unclear", "no answer", "ungradable", "failed", "not asked")
MAX_CHARACTERS_SHOWN = 1200
SHOWN_OF_A_LONG_ANSWER = 600


@dataclass
class ShownPassage:
    """A passage that stood in front of the question; `seen`: by which arms, as which number, cited or not."""

    source: str
    title: str
    text: str | None
    seen: list[tuple[str, int, bool]] = field(default_factory=list)

    @property
    def cited(self) -> bool:
        return any(cited for _, _, cited in self.seen)


class Questions:
    """The rows of a report for the page. `shown` are in it as HTML; `data` has what the script needs for all."""

    def __init__(self, report: Report, template: "Template") -> None:
        self.report, self.template = report, template
        self.num = len(report.rows)
        self.slices = list(dict.fromkeys(row.question.slice for row in report.rows))
        self._retrieving = retrieving_arms(report)
        occurring = {kind for row in report.rows for kind in self._kinds(row) if kind}
        self.kinds = {kind: words for kind, words in FAILURE_WORDS.items() if kind in occurring}
        marks = {answer_mark(reply) for row in report.rows for reply in row.replies.values()}
        self.marks = [mark for mark in MARKS if mark in marks]
        self._passages: dict[str, int] = {}
        self._dots = [dot(number) for number in range(len(report.arms))]

    @property
    def num_left_out(self) -> int:
        return max(self.num - NUM_IN_THE_PAGE, 0)

    def shown(self) -> Iterator[str]:
        """The HTML of the first questions."""
        for row in self.report.rows[:NUM_IN_THE_PAGE]:
            yield self._html(row, as_data=False)

    def data(self) -> dict[str, Any]:
        """For the script: of every question what it is filtered by, and the HTML of those that are not in the page.

        A passage that many questions saw is held once, in `passages`; the HTML has its number.
        """
        rows = [self._entry(number, row) for number, row in enumerate(self.report.rows)]
        return {"arms": [arm.name for arm in self.report.arms], "rows": rows, "passages": list(self._passages)}

    def _entry(self, number: int, row: Row) -> list[Any]:
        replies = [row.replies[arm.name] for arm in self.report.arms]
        kinds = self._kinds(row)
        html = self._html(row, as_data=True) if number >= NUM_IN_THE_PAGE else ""
        return [row.question.slice, [answer_mark(reply) for reply in replies], kinds if any(kinds) else [], html]

    def _html(self, row: Row, as_data: bool) -> str:
        return self.template.render(
            row=row,
            question=row.question,
            arms=[(dot, arm, row.replies[arm.name]) for dot, arm in zip(self._dots, self.report.arms, strict=True)],
            mark=answer_mark,
            source_mark=source_mark,
            failures=[FAILURE_WORDS[kind] if kind else None for kind in self._kinds(row)],
            passages=self._seen(row),
            number_of=self._number_of if as_data else None,
            most=MAX_CHARACTERS_SHOWN,
            begin=SHOWN_OF_A_LONG_ANSWER,
        )

    def _seen(self, row: Row) -> list[ShownPassage]:
        """The passages of all arms, each once."""
        passages: dict[tuple[str, str | None], ShownPassage] = {}
        for arm in self.report.arms:
            for each in row.replies[arm.name].citations:
                passage = passages.setdefault(
                    (each.source, each.text), ShownPassage(each.source, each.title, each.text)
                )
                passage.seen.append((arm.title, each.index, each.cited))
        return list(passages.values())

    def _number_of(self, text: str) -> int:
        return self._passages.setdefault(text, len(self._passages))

    def _kinds(self, row: Row) -> list[str | None]:
        """What went wrong, by arm; None where nothing did."""
        return [self._kind(row.replies[arm.name], arm.name) for arm in self.report.arms]

    def _kind(self, reply: Reply, arm: ArmName) -> str | None:
        kind = reply.grade.failure if reply.grade else None
        return failure_shown(kind, arm in self._retrieving) if kind else None
