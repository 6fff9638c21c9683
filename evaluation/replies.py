"""What came back for one question from one arm, and its grade."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FailureKind = Literal["not_retrieved", "misread", "not_in_documents", "wrong_form", "wrong_reasoning"]
NoAnswer = Literal["cut_off", "thinking_only", "content_filter", "tool_call"]
NO_ANSWER: dict[NoAnswer, str] = {
    "cut_off": "The reply was cut off before its answer began: raise `evaluation.thinking_tokens` where the model "
    "thinks, else `evaluation.max_tokens`.",
    "thinking_only": "The reply holds thinking and no answer. If all replies are like this one, check the endpoint's "
    "reasoning parser (`serving.reasoning_parser` for your own): it may take the answer for thinking.",
    "content_filter": "A content filter of the endpoint withheld the answer.",
    "tool_call": "The reply is a call of a tool, and no answer.",
}
UNCLEAR = "The rules cannot say whether the answer is right."


class ResultModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Grade(ResultModel):
    """Whether one answer is right; grading.py holds the rules.

    `form` is None where the question asks for none. `cited_right` and `retrieved_right` are None where the arm does
    not retrieve or the question names no source; so are precision and recall.
    """

    correct: bool
    content: bool
    form: bool | None
    refused: bool
    cited_right: bool | None
    retrieved_right: bool | None
    f1: float | None = Field(
        default=None, description="Overlap in words with the nearest accepted answer; None without any."
    )
    citation_precision: float | None = Field(
        default=None, description="Cited documents that are sources; None if none cited."
    )
    citation_recall: float | None = Field(default=None, description="Sources that were cited.")
    grounded: bool | None = Field(
        default=None, description="A cited passage holds the value; None where it has none to hold."
    )
    failure: FailureKind | None = Field(default=None, description="What went wrong, on a wrong answer: failures.py.")
    unclear: bool = Field(
        default=False,
        description="The rules cannot say whether the answer is right; it then counts as neither right nor wrong.",
    )
    judged: bool | None = Field(
        default=None, description="The judge's word, where it decided; None where the rules did."
    )


class CitedSource(ResultModel):
    """A retrieved passage; `cited` where the answer's text holds its mark, [index]."""

    index: int
    source: str
    title: str
    cited: bool
    also_in: list[str] = []
    """Other documents that say the same, and were left out of the prompt for it."""
    text: str | None = None
    """The passage as it stood in the prompt."""


class Reply(ResultModel):
    """What came back for one question from one arm: a graded text, or why there is no grade.

    `failed`: the call gave no answer. `no_answer`: the endpoint replied, and what it sent holds no answer.
    `ungradable`: there is an answer and no way to say whether it is right (the judge did not answer, or is not to be
    trusted). One of `grade`, `failed`, `no_answer` and `ungradable` is set once graded.
    """

    text: str | None = None
    model: str | None = None
    latency_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    not_asked: bool = False
    """The arm could not win any more, and was not asked the rest of the questions."""
    machine_s: float | None = None
    """Time of the project's own endpoint: each instant shared by the calls in flight there (engine_time.py). None where
    it was not measured, as in answers that an earlier version kept."""
    cut_off: bool = False
    """The answer ended at `max_tokens`."""
    thinking: str | None = None
    """What the model thought aloud before its answer. It is shown and never graded. Empty where the endpoint keeps it
    to itself, None where the model did not think."""
    no_answer: NoAnswer | None = None
    """Why there is no answer in the reply: it ended at `max_tokens` while the model thought, it holds thinking and
    nothing behind it, a content filter of the endpoint withheld it, or it is a call of a tool."""
    declined: bool = False
    """The endpoint marked the text as a refusal of the model, whatever its words are."""
    adjusted: dict[str, str | None] = {}
    """Parameters that the endpoint refused: the name under which each was sent instead, None where it was left out."""
    citations: list[CitedSource] = []
    choices: dict[str, float] | None = None
    """Log-likelihood of each choice, where the question is one of choice; 0 for the one that was answered, where a
    model thought before it."""
    grade: Grade | None = None
    failed: str | None = None
    ungradable: str | None = None

    @property
    def counted(self) -> Grade | None:
        """The grade that counts; None where there is none, and where it is unclear whether the answer is right."""
        return None if self.grade is None or self.grade.unclear else self.grade

    @property
    def missing(self) -> str | None:
        """Why no grade counts; None where one does."""
        if self.failed or self.no_answer is None:
            unclear = UNCLEAR if self.grade is not None and self.grade.unclear else None
            return self.failed or self.ungradable or unclear
        return NO_ANSWER[self.no_answer]
