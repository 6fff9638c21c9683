"""What an export is: files, the questions that they hold, and by reason the questions that they do not."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evaluation.questions.question import Question

Tool = Literal["lm-eval", "promptfoo", "ragas"]


@dataclass
class Export:
    """`files`: contents by name. `notes`: in whole sentences, how the other tool differs from Tandem."""

    tool: Tool
    num_exported: int = 0
    files: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, question: Question, reason: str) -> None:
        """Name a question that the tool cannot take, and why."""
        self.left_out.setdefault(reason, []).append(question.id)

    def note_paraphrases(self, questions: Sequence[Question]) -> None:
        if number := sum(bool(question.paraphrases) for question in questions):
            self.notes.append(f"Each question is asked in its first wording; {number:,} have others (`paraphrases`).")


def name_of(file: Path) -> str:
    """The name of a questions file as other tools take it: letters, digits and `_`."""
    return re.sub(r"\W+", "_", file.stem, flags=re.ASCII).strip("_").lower() or "questions"
