"""The recommendation, in words that follow from the numbers by these rules, in this order.

1. `one_arm`: with a single arm there is nothing to recommend it over.
2. `failures`: where more than `max_failed_share` of an arm's calls failed there is no recommendation.
3. `model_changed`: where the endpoint answered for an arm under more than one pinned name there is none either.
4. `none_right`: where no arm gave a right answer there is none either.
5. The best arm is the one with the highest share of right answers over all questions (slices count by their size; of
   equals the one with less to keep up: base, retrieval, tuned, both). Its rivals are the arms from which its paired
   difference is not separated (statistics.py says when it is).
   - `winner`: no rivals. Use the best arm.
   - `tie`: rivals, and for each the whole interval of the difference lies within 0.05 either way, on 60 questions or
     more (on fewer, arms that never differed may be 0.05 apart: the rule of three). Use what is least to keep up.
   - `not_enough`: other rivals. The questions do not settle it; no arm is recommended.

Beside it stand the best arms of each slice by the same test, and where each arm is behind them.
"""

import math
from collections.abc import Sequence

from evaluation.arms import simplicity, title
from evaluation.config import ArmName
from evaluation.questions import OVERALL
from evaluation.results import ArmResult, Cell, Difference, Recommendation, Share

AS_GOOD_AS = 0.05
LEAST_QUESTIONS_FOR_A_TIE = 60


def recommend(
    arms: Sequence[ArmResult], cells: Sequence[Cell], differences: Sequence[Difference], max_failed_share: float
) -> Recommendation:
    """Apply the rules to what was measured."""
    return _Numbers(arms, cells, differences).recommend(max_failed_share)


class _Numbers:
    """Lookups over cells and differences, and the rules on top."""

    def __init__(self, arms: Sequence[ArmResult], cells: Sequence[Cell], differences: Sequence[Difference]) -> None:
        self.arms = arms
        self.cells = {(cell.arm, cell.slice): cell for cell in cells}
        self.slices = list(dict.fromkeys(cell.slice for cell in cells if cell.slice != OVERALL))
        self.differences = {(found.first, found.second, found.slice): found for found in differences}
        self.differences |= {(found.second, found.first, found.slice): _turned(found) for found in differences}

    def recommend(self, max_failed_share: float) -> Recommendation:
        leaders = {name: self.leaders(name) for name in (OVERALL, *self.slices)}
        outcome, arm, headline, sentences = self._rule(leaders[OVERALL], max_failed_share)
        if outcome not in ("winner", "tie", "not_enough"):
            leaders = {}
        by_slice = {name: self._best(name, leaders[name]) for name in self.slices if name in leaders}
        sentences = [sentence[0].upper() + sentence[1:] for sentence in [*sentences, *self._details(leaders, arm)]]
        return Recommendation(
            outcome=outcome, arm=arm, headline=headline, sentences=sentences, by_slice=by_slice, leaders=leaders
        )

    def leaders(self, slice_name: str) -> list[ArmName]:
        """The best arm on a slice, then those not separated from it, from best to worst; none where none is right."""
        measured = [arm.name for arm in self.arms if self.cells[arm.name, slice_name].accuracy.n]
        if not any(self.share(arm, slice_name) for arm in measured):
            return []
        measured.sort(key=lambda arm: (-self.share(arm, slice_name), simplicity(arm)))
        return [arm for arm in measured if arm == measured[0] or not self.lead(measured[0], arm, slice_name).separated]

    def share(self, arm: ArmName, slice_name: str) -> float:
        return self.cells[arm, slice_name].accuracy.share or 0.0

    def lead(self, arm: ArmName, over: ArmName, slice_name: str = OVERALL) -> Difference:
        return self.differences[arm, over, slice_name]

    def _rule(self, leaders: list[ArmName], max_failed_share: float) -> tuple[str, ArmName | None, str, list[str]]:
        if failures := self._failures(max_failed_share):
            return "failures", None, "No recommendation: too many calls failed.", failures
        if changed := [arm for arm in self.arms if len(arm.answered_as) > 1]:
            names = [f"{arm.title} answered as {_listed(arm.answered_as)}." for arm in changed]
            return "model_changed", None, "No recommendation: a model changed while it was measured.", names
        if len(self.arms) == 1:
            return "one_arm", None, "Nothing to choose from: one arm was measured.", [self._level(self.arms[0].name)]
        if not leaders:
            return "none_right", None, "No recommendation: no arm gave a single right answer.", []
        best, *rivals = leaders
        if not rivals:
            return "winner", best, f"Use {title(best)}.", self._why_it_wins(best)
        simplest = min(leaders, key=simplicity)
        if all(_as_good(self.lead(best, rival)) for rival in rivals):
            return "tie", simplest, f"Use {title(simplest)}.", self._why_it_ties(best, simplest, rivals)
        headline = f"Not enough questions to tell {_titles(leaders)} apart."
        return "not_enough", None, headline, self._what_is_open(leaders)

    def _failures(self, max_failed_share: float) -> list[str]:
        sentences = []
        for arm in self.arms:
            cell = self.cells[arm.name, OVERALL]
            if cell.num_failed > max_failed_share * cell.num_questions:
                reason, times = max(arm.failures.items(), key=lambda item: item[1])
                sentences.append(
                    f"{arm.title}: {cell.num_failed} of {cell.num_questions} calls failed, and at most "
                    f"{max_failed_share:.0%} may. The commonest reason, {times} times: {reason}"
                )
        return sentences

    def _level(self, arm: ArmName) -> str:
        accuracy = self.cells[arm, OVERALL].accuracy
        return f"{title(arm)} answers {with_interval(accuracy)} of {accuracy.n} questions right."

    def _why_it_wins(self, best: ArmName) -> list[str]:
        next_best = max((arm.name for arm in self.arms if arm.name != best), key=lambda arm: self.share(arm, OVERALL))
        lead = self.lead(best, next_best)
        behind = f"{title(next_best)} ({self.share(next_best, OVERALL):.2f})"
        by = f"{lead.difference:.2f} ({lead.low:.2f} to {lead.high:.2f})"
        return [f"{self._level(best).removesuffix('.')}, better than the next best, {behind}, by {by}."]

    def _why_it_ties(self, best: ArmName, simplest: ArmName, rivals: list[ArmName]) -> list[str]:
        leads = [self.lead(best, rival) for rival in rivals]
        widest = max(abs(bound) for lead in leads for bound in (lead.low, lead.high) if bound is not None)
        margin = max(math.ceil(widest * 100), 1) / 100
        others = [arm for arm in (best, *rivals) if arm != simplest]
        equal = f"{_titles(others)} {'is' if len(others) == 1 else 'are'} as good to within {margin:.2f}"
        return [self._level(simplest), f"{equal}, and {title(simplest)} leaves the least to keep up."]

    def _what_is_open(self, leaders: list[ArmName]) -> list[str]:
        best, *rivals = leaders
        compared = [f"{title(best)} against {title(rival)}: {_better(self.lead(best, rival))}." for rival in rivals]
        simplest = min(leaders, key=simplicity)
        least = f"If you have to choose now, {title(simplest)} leaves the least to keep up."
        return [self._level(best), *compared, least]

    def _details(self, leaders: dict[str, list[ArmName]], arm: ArmName | None) -> list[str]:
        if not leaders:
            return []
        best = self.share(leaders[OVERALL][0], OVERALL)
        sentences = ["Even the best arm is wrong more often than right."] if best < 0.5 else []
        sentences += [self._behind(result.name, leaders) for result in self.arms]
        false_answers = self.cells[arm, OVERALL].false_answers if arm else None
        if arm and false_answers:
            sentences.append(
                f"Where nobody can know, {title(arm)} gives a false answer in {with_interval(false_answers)} of "
                f"{false_answers.n} cases."
            )
        num_failed = sum(self.cells[result.name, OVERALL].num_failed for result in self.arms)
        if num_failed:
            calls = "failed call is" if num_failed == 1 else "failed calls are"
            sentences.append(f"{num_failed} {calls} counted apart, as neither right nor wrong.")
        return [sentence for sentence in sentences if sentence]

    def _best(self, slice_name: str, leaders: list[ArmName]) -> str:
        if not leaders:
            return "none is right"
        named = _listed([f"{title(arm)} ({self.share(arm, slice_name):.2f})" for arm in leaders])
        return f"{named}{', not told apart' if len(leaders) > 1 else ''}"

    def _behind(self, arm: ArmName, leaders: dict[str, list[ArmName]]) -> str:
        """Where another arm is ahead beyond its interval, widest gap first."""
        slices = [name for name in self.slices if leaders[name] and arm not in leaders[name]]
        slices = [name for name in slices if self.cells[arm, name].accuracy.n]
        slices.sort(key=lambda name: self.share(arm, name) - self.share(leaders[name][0], name))
        pairs = [(name, self.share(arm, name), self.share(leaders[name][0], name)) for name in slices]
        gaps = [f"{name} ({own:.2f} against {best:.2f})" for name, own, best in pairs]
        return f"{title(arm)} is behind on {_listed(gaps)}." if gaps else ""


def with_interval(share: Share) -> str:
    """A share with its interval in words, such as 0.91 (0.87 to 0.94)."""
    return f"{share.share:.2f} ({share.low:.2f} to {share.high:.2f})" if share.n else "none"


def _turned(found: Difference) -> Difference:
    low, high = (None if found.high is None else -found.high), (None if found.low is None else -found.low)
    difference = None if found.difference is None else -found.difference
    return found.model_copy(
        update={"first": found.second, "second": found.first, "difference": difference, "low": low, "high": high}
    )


def _as_good(lead: Difference) -> bool:
    if lead.n < LEAST_QUESTIONS_FOR_A_TIE or lead.low is None or lead.high is None:
        return False
    return lead.low >= -AS_GOOD_AS and lead.high <= AS_GOOD_AS


def _better(lead: Difference) -> str:
    if lead.difference is None:
        return "no question was answered by both"
    difference, low, high = (f"{round(value or 0.0, 2) + 0.0:+.2f}" for value in (lead.difference, lead.low, lead.high))
    return f"{difference} ({low} to {high}) on the {lead.n} questions that both answered"


def _titles(arms: Sequence[ArmName]) -> str:
    return _listed([title(arm) for arm in arms])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
