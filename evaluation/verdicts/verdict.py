"""The recommendation, in words that follow from the numbers by these rules, in this order.

1. `one_arm`: with a single arm there is nothing to recommend it over.
2. `failures`: where more than `max_failed_share` of an arm's calls failed, gave no answer, or gave one that could not
   be graded, there is no recommendation. Nor is there where more than `max_unclear_share` of its answers are unclear.
3. `model_changed`: where the endpoint answered for an arm under more than one pinned name there is none either.
4. `none_right`: where no arm gave a right answer there is none either.
5. The best arm is the one with the highest share of right answers over all questions (slices count by their size; of
   equals the one with less to keep up: base, few_shot, another endpoint, retrieval, tuned, tuned_retrieval, raft). Its
   rivals are the arms from which it is not separated (statistics.py says when it is), and those that are as good: the
   whole interval of the difference lies within `worth` either way, on 60 questions or more.
   - `winner`: no rivals. Use the best arm.
   - `tie`: rivals, and all of them as good. Use the one that costs least; where costs are not known, or one costs less
     each month and another for each answer, the one that is least to keep up.
   - `not_enough`: other rivals. The questions do not settle it; no arm is recommended.

Beside it stand the best arms of each slice by the same test, where each arm is behind them, and what would change the
verdict. The `general` questions are no part of all this: where an arm is behind `base` on them, it has forgotten.
"""

import math
from collections.abc import Mapping, Sequence

from evaluation.arms import TRAINED, simplicity, title
from evaluation.config import ArmName, EndpointArm, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.results import ArmResult, BreakEven, Cell, Cost, Difference, Recommendation, Share
from evaluation.verdicts.adoption import adoption_steps
from evaluation.verdicts.summary import DEFAULT_WORTH, is_as_good

LARGE = 0.2
"""A difference in right answers that nobody would call too small to matter."""
DEFAULT_UNCLEAR: float = EvaluationConfig.model_fields["max_unclear_share"].default
DECIDED = ("winner", "tie", "not_enough")


def recommend(
    arms: Sequence[ArmResult],
    cells: Sequence[Cell],
    differences: Sequence[Difference],
    max_failed_share: float,
    *,
    max_unclear_share: float = DEFAULT_UNCLEAR,
    worth: float = DEFAULT_WORTH,
    costs: Sequence[Cost] = (),
    break_even: Sequence[BreakEven] = (),
    endpoints: Mapping[ArmName, EndpointArm] | None = None,
) -> Recommendation:
    """Apply the rules to what was measured.

    Args:
        worth: the difference in right answers that would matter; `make_differences` gets the same.
        costs: what each arm costs, and `break_even` between which arms it turns; without them costs decide nothing.
        endpoints: the arms that are other endpoints, for the lines that adopt one.
    """
    numbers = _Numbers(arms, cells, differences, worth, costs, break_even)
    recommendation = numbers.recommend(max_failed_share, max_unclear_share)
    adopted = next((arm for arm in arms if arm.name == recommendation.arm), None)
    return (
        recommendation.model_copy(update={"adopt": adoption_steps(adopted, endpoints or {})})
        if adopted
        else recommendation
    )


class _Numbers:
    """Lookups over cells and differences, and the rules on top."""

    def __init__(
        self,
        arms: Sequence[ArmResult],
        cells: Sequence[Cell],
        differences: Sequence[Difference],
        worth: float,
        costs: Sequence[Cost],
        break_even: Sequence[BreakEven],
    ) -> None:
        self.arms, self.worth, self.break_even = arms, worth, break_even
        self.costs = {cost.arm: cost for cost in costs}
        self.cells = {(cell.arm, cell.slice): cell for cell in cells}
        self.slices = list(dict.fromkeys(cell.slice for cell in cells if cell.slice not in (OVERALL, GENERAL)))
        self.differences = {
            (difference.first, difference.second, difference.slice): difference for difference in differences
        }
        self.differences |= {
            (difference.second, difference.first, difference.slice): _turned(difference) for difference in differences
        }

    def recommend(self, max_failed_share: float, max_unclear_share: float) -> Recommendation:
        leaders = {name: self.leaders(name) for name in (OVERALL, *self.slices)}
        outcome, arm, headline, sentences = self._rule(leaders[OVERALL], max_failed_share, max_unclear_share)
        if outcome not in DECIDED:
            leaders = {}
        by_slice = {name: self._best(name, leaders[name]) for name in self.slices if name in leaders}
        sentences = [sentence[0].upper() + sentence[1:] for sentence in [*sentences, *self._details(leaders, arm)]]
        return Recommendation(
            outcome=outcome, arm=arm, headline=headline, sentences=sentences, by_slice=by_slice, leaders=leaders,
            would_change=self._would_change(outcome, arm, leaders),
            more_questions=self._more_questions(leaders[OVERALL]) if outcome == "not_enough" else None,
        )  # fmt: skip

    def leaders(self, slice_name: str) -> list[ArmName]:
        """The best arm on a slice, then its rivals, from best to worst; none where none is right."""
        measured = [arm.name for arm in self.arms if self.cells[arm.name, slice_name].accuracy.n]
        if not any(self.share(arm, slice_name) for arm in measured):
            return []
        measured.sort(key=lambda arm: (-self.share(arm, slice_name), simplicity(arm)))
        best, *others = measured
        return [best, *(arm for arm in others if self._rivals(self.lead(best, arm, slice_name)))]

    def share(self, arm: ArmName, slice_name: str) -> float:
        return self.cells[arm, slice_name].accuracy.share or 0.0

    def lead(self, arm: ArmName, over: ArmName, slice_name: str = OVERALL) -> Difference:
        return self.differences[arm, over, slice_name]

    def _rivals(self, lead: Difference) -> bool:
        return not lead.separated or is_as_good(lead, self.worth)

    def _rule(
        self, leaders: list[ArmName], max_failed_share: float, max_unclear_share: float
    ) -> tuple[str, ArmName | None, str, list[str]]:
        if failures := self._failures(max_failed_share, max_unclear_share):
            return "failures", None, self._failed_headline(max_failed_share), failures
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
        if all(is_as_good(self.lead(best, rival), self.worth) for rival in rivals):
            chosen, why = self._preferred(leaders)
            return "tie", chosen, f"Use {title(chosen)}.", self._why_it_ties(best, chosen, rivals, why)
        headline = f"Not enough questions to tell {_titles(leaders)} apart."
        return "not_enough", None, headline, self._what_is_open(leaders)

    def _preferred(self, tied: list[ArmName]) -> tuple[ArmName, str]:
        """The cheapest of arms that are as good, or the one with the least to keep up; and why, in words."""
        costs = [self.costs[arm] for arm in sorted(tied, key=simplicity) if arm in self.costs]
        known = [(cost.monthly_money, cost.answer_money, cost.arm) for cost in costs]
        sums = [(monthly, answer, arm) for monthly, answer, arm in known if monthly is not None and answer is not None]
        if len(sums) == len(tied) and len({each[:2] for each in sums}) > 1:
            least = (min(monthly for monthly, _, _ in sums), min(answer for _, answer, _ in sums))
            cheapest = [arm for monthly, answer, arm in sums if (monthly, answer) == least]
            if cheapest:
                return cheapest[0], f"{title(cheapest[0])} costs least"
        simplest = min(tied, key=simplicity)
        return simplest, f"{title(simplest)} leaves the least to keep up"

    def _failed_headline(self, max_failed_share: float) -> str:
        cells = [self.cells[arm.name, OVERALL] for arm in self.arms]
        failed = any(cell.num_failed + cell.num_ungradable > max_failed_share * cell.num_questions for cell in cells)
        what = "calls failed" if failed else "answers are missing or unclear"
        return f"No recommendation: too many {what}."

    def _failures(self, max_failed_share: float, max_unclear_share: float) -> list[str]:
        sentences = []
        for arm in self.arms:
            cell = self.cells[arm.name, OVERALL]
            lost = cell.num_failed + cell.num_no_answer + cell.num_ungradable
            if lost > max_failed_share * cell.num_questions:
                failed = f"{arm.title}: {cell.num_failed} of {cell.num_questions} calls failed"
                if cell.num_no_answer:
                    failed += f", {cell.num_no_answer} gave no answer"
                if cell.num_ungradable:
                    failed += f" and {cell.num_ungradable} answers could not be graded"
                sentences.append(f"{failed}, and at most {max_failed_share:.0%} may.{_commonest(arm.failures)}")
            if cell.num_unclear > max_unclear_share * cell.num_questions:
                sentences.append(
                    f"{arm.title}: of {cell.num_unclear} of {cell.num_questions} answers the rules cannot say whether "
                    f"they are right, and at most {max_unclear_share:.0%} may be so. A judge can decide on them."
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

    def _why_it_ties(self, best: ArmName, chosen: ArmName, rivals: list[ArmName], why: str) -> list[str]:
        leads = [self.lead(best, rival) for rival in rivals]
        margin = max(_up(max(map(_reach, leads))), 0.01)
        others = [arm for arm in (best, *rivals) if arm != chosen]
        equal = f"{_titles(others)} {'is' if len(others) == 1 else 'are'} as good to within {margin:.2f}"
        return [self._level(chosen), f"{equal}, and {why}."]

    def _what_is_open(self, leaders: list[ArmName]) -> list[str]:
        best, *rivals = leaders
        compared = [f"{title(best)} against {title(rival)}: {_better(self.lead(best, rival))}." for rival in rivals]
        _, why = self._preferred(leaders)
        return [self._level(best), *compared, f"If you have to choose now, {why}."]

    def _more_questions(self, leaders: list[ArmName]) -> int | None:
        """So many that the hardest of the open comparisons is settled."""
        best, *rivals = leaders
        open_ones = [self.lead(best, rival).more_questions for rival in rivals]
        return max((number for number in open_ones if number is not None), default=None)

    def _would_change(self, outcome: str, arm: ArmName | None, leaders: dict[str, list[ArmName]]) -> list[str]:
        if outcome == "not_enough":
            more = self._more_questions(leaders[OVERALL])
            return [] if more is None else [f"About {_rounded(more)} more questions, if the arms go on as they did."]
        if arm is None or outcome not in DECIDED:
            return []
        changes = self._other_worth(arm, leaders[OVERALL]) if outcome == "tie" else self._another_level(arm)
        return [*changes, *self._other_prices(arm, leaders[OVERALL], outcome), *self._other_questions(arm, leaders)]

    def _another_level(self, arm: ArmName) -> list[str]:
        """From which `worth` on the winner only ties, with an arm that would then be chosen."""
        tying = sorted((_reach(self.lead(arm, other.name)), other.name) for other in self.arms if other.name != arm)
        for reach, _ in tying:
            chosen, why = self._preferred([arm, *(name for least, name in tying if least <= reach)])
            if chosen != arm and reach > LARGE:
                return [
                    "Only other questions or documents: on these the lead decides even where a difference of less than "
                    f"{_up(reach):.2f} does not matter (`evaluation.worth`)."
                ]
            if chosen != arm:
                return [f"A difference of {_up(reach):.2f} that would not matter to you (`evaluation.worth`): {why}."]
        return []

    def _other_worth(self, arm: ArmName, leaders: list[ArmName]) -> list[str]:
        best = leaders[0]
        if arm == best or not self.lead(best, arm).separated:
            return []
        lead = f"{self.lead(best, arm).difference:.2f}"
        return [f"A smaller difference that matters to you (`evaluation.worth`): {title(best)} is better by {lead}."]

    def _other_prices(self, arm: ArmName, leaders: list[ArmName], outcome: str) -> list[str]:
        compared = leaders if outcome == "tie" else [each.name for each in self.arms]
        own = self.costs.get(arm)
        if outcome == "tie" and (own is None or own.answer_money is None or own.monthly_money is None):
            return ["Prices (`evaluation.prices`): among arms that are as good the cheapest is preferred."]
        turns = [each for each in self.break_even if {each.cheaper_above, each.than} <= set(compared)]
        return [
            f"More than {_rounded(each.questions_per_month)} questions a month: "
            f"{title(each.cheaper_above)} then costs less than {title(each.than)}."
            for each in turns
            if arm in (each.cheaper_above, each.than)
        ]

    def _other_questions(self, arm: ArmName, leaders: dict[str, list[ArmName]]) -> list[str]:
        elsewhere = [name for name in self.slices if leaders[name] and arm not in leaders[name]]
        return [
            f"Mostly questions like those of {name}: there {_titles(leaders[name])} "
            f"{'is' if len(leaders[name]) == 1 else 'are'} better."
            for name in elsewhere
            if self.cells[arm, name].accuracy.n
        ]

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
        sentences += [self._forgotten(result.name, result.name == arm) for result in self.arms]
        num_failed = sum(self.cells[result.name, OVERALL].num_failed for result in self.arms)
        if num_failed:
            calls = "failed call is" if num_failed == 1 else "failed calls are"
            sentences.append(f"{num_failed} {calls} counted apart, as neither right nor wrong.")
        num_ungradable = sum(self.cells[result.name, OVERALL].num_ungradable for result in self.arms)
        if num_ungradable:
            sentences.append(f"Answers that could not be graded, and are counted apart: {num_ungradable}.")
        num_no_answer = sum(self.cells[result.name, OVERALL].num_no_answer for result in self.arms)
        if num_no_answer:
            sentences.append(f"Replies without an answer, which are counted apart: {num_no_answer}.")
        num_unclear = sum(self.cells[result.name, OVERALL].num_unclear for result in self.arms)
        if num_unclear:
            sentences.append(f"Answers that the rules cannot decide on, and are counted apart: {num_unclear}.")
        return [sentence for sentence in sentences if sentence]

    def _forgotten(self, arm: ArmName, chosen: bool) -> str:
        """How a trained arm stands beside `base` on the general questions; where it holds, only of the chosen one."""
        lead = self.differences.get((arm, "base", GENERAL))
        if arm not in TRAINED or lead is None or lead.difference is None:
            return ""
        fell = lead.separated and lead.difference < 0
        if not (fell or chosen):
            return ""
        shares = f"{self.share(arm, GENERAL):.2f} against {self.share('base', GENERAL):.2f} of the base model"
        outcome = "has forgotten" if fell else "has not measurably forgotten"
        return f"On {lead.n} general questions {title(arm)} {outcome}: {shares}, {_better(lead, short=True)}."

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


def _turned(original: Difference) -> Difference:
    low, high = (None if original.high is None else -original.high), (None if original.low is None else -original.low)
    difference = None if original.difference is None else -original.difference
    return original.model_copy(
        update={"first": original.second, "second": original.first, "difference": difference, "low": low, "high": high}
    )


def _reach(lead: Difference) -> float:
    """How far from 0 the interval goes, on the side where it goes farther."""
    return 1.0 if lead.low is None or lead.high is None else max(abs(lead.low), abs(lead.high))


def _better(lead: Difference, short: bool = False) -> str:
    if lead.difference is None:
        return "no question was answered by both"
    difference, low, high = (f"{round(value or 0.0, 2) + 0.0:+.2f}" for value in (lead.difference, lead.low, lead.high))
    both = "" if short else f" on the {lead.n} questions that both answered"
    return f"{difference} ({low} to {high}){both}"


def _commonest(failures: Mapping[str, int]) -> str:
    if not failures:
        return ""
    reason, times = max(failures.items(), key=lambda item: item[1])
    return f" The commonest reason, {times} times: {reason}"


def _up(value: float) -> float:
    return math.ceil(round(value * 100, 6)) / 100


def _rounded(number: float) -> str:
    """Two figures are as exact as this is known."""
    digits = max(len(str(round(number))) - 2, 0)
    return f"{round(round(number), -digits):,}"


def _titles(arms: Sequence[ArmName]) -> str:
    return _listed([title(arm) for arm in arms])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
