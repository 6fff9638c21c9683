"""In which parameters the arms were asked otherwise than each other: by their settings, or as their endpoints wanted.

A limit of tokens under another name is the same limit; a temperature that is left out may be another temperature.
"""

from collections.abc import Sequence

from evaluation.results import ArmResult, Report


def request_sentences(report: Report) -> list[str]:
    """One sentence for each arm and parameter; none where all arms were asked alike."""
    return [
        sentence
        for arm in report.arms
        for sentence in [*_adjusted(arm, report), *_added(arm, report)]
    ]  # fmt: skip


def _adjusted(arm: ArmResult, report: Report) -> Sequence[str]:
    endpoint = report.config.endpoints.get(arm.name)
    chosen = endpoint.parameters if endpoint else {}
    sentences = []
    for name, new in sorted(arm.adjusted.items()):
        why = "as its settings say" if name in chosen else "since its endpoint refuses it"
        if new:
            sentences.append(f"{arm.title}: `{name}` was sent as `{new}`, {why}.")
        else:
            sentences.append(f"{arm.title}: `{name}` was left out, {why}.{_consequence(name, report)}")
    return sentences


def _added(arm: ArmResult, report: Report) -> Sequence[str]:
    endpoint = report.config.endpoints.get(arm.name)
    names = ", ".join(f"`{name}`" for name in sorted(endpoint.extra_body)) if endpoint else ""
    return [f"{arm.title}: its settings set {names} in each request."] if names else []


def _consequence(name: str, report: Report) -> str:
    """What leaving a parameter out means for the comparison."""
    asked = f"{report.config.temperature:g}"
    return {
        "temperature": f" It answered at its own temperature and not at {asked}.",
        "max_tokens": f" Its answers had no limit in place of {report.config.max_tokens:,} tokens.",
        "logprobs": " Its answers to questions of choice cannot be graded without log-probabilities.",
    }.get(name, "")
