"""Numbers of a verdict in words: differences, and what shared documents leave of them."""

import math
from collections.abc import Mapping, Sequence

from evaluation.arms import title
from evaluation.config import ArmName
from evaluation.results import Difference
from evaluation.verdicts.percentages import points_with_interval


def has_too_few_documents(lead: Difference) -> bool:
    """Whether the two could not be told apart even where one is better on every document."""
    joined = lead.num_documents is not None and lead.num_documents < lead.n
    return joined and lead.smallest_effect is None and not lead.separated


def describe_documents(lead: Difference) -> str:
    """What questions that share documents are worth, where some do."""
    if lead.num_documents is None or lead.num_documents == lead.n or lead.effective is None:
        return ""
    words = (
        f"The {lead.n} questions count as {lead.num_documents} "
        f"{'document' if lead.num_documents == 1 else 'documents'} (a question without a source is one by "
        "itself), and answers on one document go together"
    )
    if has_too_few_documents(lead):
        return f"{words}: on so few documents no difference can be shown, however large."
    return f"{words}: they show as much as {two_figures(lead.effective)} questions on a document each."


def reach(lead: Difference) -> float:
    """How far from 0 the interval goes, on the side where it goes farther."""
    return 1.0 if lead.low is None or lead.high is None else max(abs(lead.low), abs(lead.high))


def describe_lead(lead: Difference) -> str:
    both = "" if lead.difference is None else f" on the {lead.n} questions that both answered"
    return f"{points_with_interval(lead)}{both}"


def commonest_failure(failures: Mapping[str, int]) -> str:
    if not failures:
        return ""
    reason, times = max(failures.items(), key=lambda item: item[1])
    return f" The commonest reason, {times} times: {reason}"


def round_up(value: float) -> float:
    return math.ceil(round(value * 100, 6)) / 100


def two_figures(number: float) -> str:
    """Two figures are as exact as this is known."""
    digits = max(len(str(round(number))) - 2, 0)
    return f"{round(round(number), -digits):,}"


def titles(arms: Sequence[ArmName]) -> str:
    return listed([title(arm) for arm in arms])


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
