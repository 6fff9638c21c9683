"""Looking again after more questions were asked, and the error that each look may make.

If questions are added until an arm wins, equal arms get a winner too often: in 7 of 100 cases where "about N more" is
followed, in 15 where twenty are added at a time. So the 5 % are spent over all looks together: the first may err in
4 %, the k-th in 1 % / (k (k - 1)), which sums to 5 % for any number of looks (alpha spending; D. L. DeMets and
K. K. G. Lan, 1994, Statistics in Medicine 13:1341, with the simplest of functions). Nothing has to be planned, but
earlier looks have to be known: each comparison with a verdict leaves a `look.json` in its run's folder.

An earlier look counts where it had two of the arms and one of the questions. An arm is the same where it is asked as
the same model at the same place in the same way, whatever it is called. The same questions again are the same look. A
look that could not have told anything apart costs nothing.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.fingerprints.digests import digest_json, digest_question
from cluster.storage.files import write_atomically
from evaluation.arms import Arm
from evaluation.config import ArmName
from evaluation.questions.question import GENERAL, Question
from evaluation.questions.repeats import distinct_questions
from evaluation.verdicts.percentages import percent
from evaluation.verdicts.sampling.clusters import clusters_of_questions
from evaluation.verdicts.sampling.exchange import least_documents
from evaluation.verdicts.statistics import CONFIDENCE

FIRST_SHARE = 0.8
"""Of the whole error, what the first look may spend."""
FILE = "look.json"


@dataclass(frozen=True)
class Looks:
    """The number of this look, from 1, and the shares of comparisons in which this one and the next may err."""

    number: int
    error: float
    next_error: float


ONE_LOOK = Looks(1, 1 - CONFIDENCE, 1 - CONFIDENCE)
"""Where nobody looks again: the whole error at once."""


class Look(BaseModel):
    """What was looked at: arms as name and model, questions as digests, and the documents that they count as.

    `identities` are digests of what each arm is, by its name; looks of earlier versions have none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: str
    arms: frozenset[tuple[ArmName, str]]
    questions: frozenset[str]
    num_documents: int
    identities: dict[ArmName, str] = {}

    def of(self, arms: Collection[ArmName]) -> "Look":
        """The same look at these arms alone."""
        return self.model_copy(
            update={
                "arms": frozenset(arm for arm in self.arms if arm[0] in arms),
                "identities": {name: each for name, each in self.identities.items() if name in arms},
            }
        )


def make_look(questions: Sequence[Question], arms: Sequence[Arm], created: str) -> Look:
    """A comparison of these arms on these questions, of which general ones are no part of a verdict.

    Args:
        created: the time of the run, as ISO 8601 in UTC.
    """
    counted = [question for question in distinct_questions(questions) if question.slice != GENERAL]
    return Look(
        created=created,
        arms=frozenset((arm.name, arm.model) for arm in arms),
        questions=frozenset(digest_question(question.question)[:16] for question in counted),
        num_documents=len(set(clusters_of_questions(counted).tolist())),
        identities={arm.name: _identity(arm) for arm in arms},
    )


def _identity(arm: Arm) -> str:
    there = arm.endpoint and [arm.endpoint.url.rstrip("/"), arm.endpoint.parameters, arm.endpoint.extra_body]
    shots = [[shot.question, shot.answer] for shot in arm.shots]
    return digest_json([arm.model, there, shots, arm.thinking])[:16]


def count_looks(look: Look, runs: Path) -> Looks:
    """This look among those of the project's earlier runs.

    Args:
        runs: the folder of the project's runs; what cannot be read there is passed over.
    """
    earlier = sorted((each for each in _read_looks(runs) if _is_earlier(each, look)), key=lambda each: each.created)
    before = list(dict.fromkeys(each.questions for each in earlier))
    if look.questions in before:  # the same questions again, be it after larger sets
        before = before[: before.index(look.questions)]
    number = len(before) + 1
    return Looks(number, error_of_look(number), error_of_look(number + 1))


def error_of_look(number: int) -> float:
    """The share of comparisons in which this look may tell arms apart that are equal; `number` is from 1."""
    whole = 1 - CONFIDENCE
    return FIRST_SHARE * whole if number == 1 else (1 - FIRST_SHARE) * whole / (number * (number - 1))


def write_look(look: Look, folder: Path) -> None:
    """Leave the look in its run's folder for later ones."""
    content: dict[str, Any] = {
        "created": look.created, "arms": sorted(look.arms), "questions": sorted(look.questions),
        "num_documents": look.num_documents, "identities": look.identities,
    }  # fmt: skip
    write_atomically(folder / FILE, json.dumps(content, indent=1) + "\n")


def describe_looks(looks: Looks) -> list[str]:
    """For a reader, where there were earlier looks."""
    if looks.number == 1:
        return []
    return [
        f"These arms were compared on part of these questions before: this is look number {looks.number}. So that all "
        f"looks together err in at most {percent(1 - CONFIDENCE)}, this one may err in {looks.error * 100:.2f} %."
    ]


def _is_earlier(each: Look, look: Look) -> bool:
    same_arms = _num_same_arms(each, look)
    could_tell = each.num_documents >= least_documents(FIRST_SHARE * (1 - CONFIDENCE))
    return same_arms >= 2 and bool(each.questions & look.questions) and could_tell and each.created <= look.created


def _num_same_arms(each: Look, look: Look) -> int:
    if not each.identities:
        return len(each.arms & look.arms)
    return (Counter(each.identities.values()) & Counter(look.identities.values())).total()


def _read_looks(runs: Path) -> Iterator[Look]:
    for path in runs.glob(f"*-*/{FILE}"):
        try:
            yield Look.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
