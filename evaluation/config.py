"""The `evaluation` section of a project file. Importable without a client and without scipy."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from cluster.schema import LocalPath, Section

ArmName = Literal["base", "tuned", "retrieval", "hybrid"]
ALL_ARMS: tuple[ArmName, ...] = ("base", "tuned", "retrieval", "hybrid")


class EvaluationConfig(Section):
    """Which questions are asked, of which arms, how, and when there is no verdict."""

    questions: LocalPath | None = None
    """Test questions, one JSON object per line: id, slice, question, answers, reference, sources, answerable, form."""

    arms: tuple[ArmName, ...] = ALL_ARMS
    """What is compared: `base`, `tuned` (base and adapter), `retrieval` (base and documents), `hybrid` (all three)."""

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Calls in flight at once, over all arms together."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Sampling temperature, the same for every arm. 0 takes the likeliest token."""

    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest answer, in tokens."""

    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a call counts as failed. A failed call is not asked again."""

    give_up_after: Annotated[int, Field(ge=1)] = 20
    """Failures in a row after which the rest of an arm is recorded as failed without being asked."""

    max_failed_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of failed calls in any arm above which there is no recommendation."""

    seed: int = 0
    """Decides the order of the questions and the bootstrap's draws."""

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[ArmName, ...]) -> tuple[ArmName, ...]:
        if not arms or len(set(arms)) < len(arms):
            raise ValueError("arms names at least one arm, and each at most once")
        return arms
