"""The recommendation, in words that follow from the numbers by these rules, in this order.

1. `one_arm`: with a single arm there is nothing to recommend it over.
2. `failures`: where more than `max_failed_share` of an arm's calls failed, gave no answer, or gave one that could not
   be graded, there is no recommendation. Nor is there where more than `max_unclear_share` of its answers are unclear.
3. `model_changed`: where the endpoint answered for an arm under more than one pinned name there is none either.
4. `none_right`: where no arm gave a right answer there is none either.
5. The best arm is the one with the highest share of right answers over all questions (slices count by their size; of
   equals the one with less to keep up: base, few_shot, another endpoint, retrieval, tuned, tuned_retrieval, raft). Two
   arms are compared on the questions that both answered: one whose calls fail on hard questions is not better for it.
   Its rivals are the arms from which it is not separated (statistics.py says when it is), and those that are as good:
   the whole interval of the difference lies within `worth` either way, on 60 questions or more.
   - `winner`: no rivals. Use the best arm.
   - `tie`: rivals, and all of them as good. Use the one that costs least; where costs are not known, or one costs less
     each month and another for each answer, the one that is least to keep up.
   - `not_enough`: other rivals. The questions, or the documents that they are on, do not settle it; no arm is
     recommended.

Beside it stand the best arms of each slice by the same test, and what would change the verdict. The `general` questions
are no part of all this: where an arm is behind `base` on them, it has forgotten.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from evaluation.arms import TRAINED, simplicity, title
from evaluation.config import ArmName, EndpointArm, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL
from evaluation.results import ArmResult, BreakEven, Cell, Cost, Difference, Recommendation
from evaluation.verdicts.adoption import adoption_steps
from evaluation.verdicts.percentages import bounds, percent, points, points_with_interval, with_interval
from evaluation.verdicts.summary import DEFAULT_WORTH, is_as_good
from evaluation.verdicts.verdict_words import (
    commonest_failure,
    describe_documents,
    describe_lead,
    has_too_few_documents,
    listed,
    reach,
    round_up,
    titles,
    two_figures,
)

SMALL = 0.005
"""What a share with two figures does not show."""
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
    optimism: float | None = None,
    notes: Sequence[str] = (),
) -> Recommendation:
    """Apply the rules to what was measured.

    Args:
        worth: the difference in right answers that would matter; `make_differences` gets the same.
        costs: what each arm costs, and `break_even` between which arms it turns; without them costs decide nothing.
        endpoints: the arms that are other endpoints, for the lines that adopt one.
        optimism: by how much the best arm's share flatters it (selection.py).
        notes: whole sentences on the questions and on earlier looks at them, for the reader.
    """
    numbers = _Numbers(arms, cells, differences, worth, costs, break_even, optimism)
    recommendation = numbers.recommend(max_failed_share, max_unclear_share)
    adopted = next((arm for arm in arms if arm.name == recommendation.arm), None)
    update = {"adopt": adoption_steps(adopted, endpoints or {})} if adopted else {}
    return recommendation.model_copy(update={**update, "sentences": [*recommendation.sentences, *notes]})


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
        optimism: float | None,
    ) -> None:
        self.arms, self.worth, self.break_even, self.optimism = arms, worth, break_even, optimism
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
            more_questions=self._most_of_open(leaders[OVERALL], "more_questions") if outcome == "not_enough" else None,
            more_documents=self._most_of_open(leaders[OVERALL], "more_documents") if outcome == "not_enough" else None,
            optimism=self.optimism if outcome in DECIDED and self._is_best(arm, leaders[OVERALL]) else None,
        )  # fmt: skip

    def leaders(self, slice_name: str) -> list[ArmName]:
        """The best arm on a slice, then its rivals, from best to worst; none where none is right."""
        measured = [arm.name for arm in self.arms if self.cells[arm.name, slice_name].accuracy.n]
        if not any(self.share(arm, slice_name) for arm in measured):
            return []
        # A share of the part that an arm was asked says nothing beside the shares of the whole slice.
        measured = [arm for arm in measured if not self.cells[arm, slice_name].num_not_asked]
        ordered = sorted(measured, key=lambda arm: (-self._standing(arm, measured, slice_name), simplicity(arm)))
        best, others = ordered[:1], ordered[1:]
        return [*best, *(arm for arm in others if self._rivals(self.lead(best[0], arm, slice_name)))]

    def share(self, arm: ArmName, slice_name: str) -> float:
        return self.cells[arm, slice_name].accuracy.share or 0.0

    def _standing(self, arm: ArmName, among: Sequence[ArmName], slice_name: str) -> float:
        """How far the arm is ahead of the others, summed up: it orders them as their shares do, where all answered the
        same questions."""
        leads = (self.lead(arm, other, slice_name).difference or 0.0 for other in among if other != arm)
        return round(sum(leads), 9)

    def is_out(self, arm: ArmName) -> bool:
        """Whether the arm was not asked everything, because it could not win any more."""
        return self.cells[arm, OVERALL].num_not_asked > 0

    def lead(self, arm: ArmName, over: ArmName, slice_name: str = OVERALL) -> Difference:
        return self.differences[arm, over, slice_name]

    def _rivals(self, lead: Difference) -> bool:
        return not lead.separated or (lead.difference or 0.0) <= 0 or is_as_good(lead, self.worth)

    def _rule(
        self, leaders: list[ArmName], max_failed_share: float, max_unclear_share: float
    ) -> tuple[str, ArmName | None, str, list[str]]:
        if failures := self._failures(max_failed_share, max_unclear_share):
            return "failures", None, self._failed_headline(max_failed_share), failures
        if changed := [arm for arm in self.arms if len(arm.answered_as) > 1]:
            names = [f"{arm.title} answered as {listed(arm.answered_as)}." for arm in changed]
            return "model_changed", None, "No recommendation: a model changed while it was measured.", names
        if len(self.arms) == 1:
            return "one_arm", None, "Nothing to choose from: one arm was measured.", [self._level(self.arms[0].name)]
        if not leaders:
            return "none_right", None, "No recommendation: no arm gave a single right answer.", []
        best, *rivals = leaders
        if not rivals:
            return "winner", best, f"Use {title(best)}.", [*self._why_it_wins(best), *self._flattery(best)]
        if all(is_as_good(self.lead(best, rival), self.worth) for rival in rivals):
            chosen, why = self._preferred(leaders)
            return "tie", chosen, f"Use {title(chosen)}.", self._why_it_ties(best, chosen, rivals, why)
        too_few = any(has_too_few_documents(self.lead(best, rival)) for rival in rivals)
        headline = f"{'Too few documents' if too_few else 'Not enough questions'} to tell {titles(leaders)} apart."
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
                least_words = "costs least" if len(cheapest) == 1 else "costs no more than any of them"
                return cheapest[0], f"{title(cheapest[0])} {least_words}"
        simplest = min(tied, key=simplicity)
        equals = [arm for arm in tied if simplicity(arm) == simplicity(simplest)]
        if len(equals) == 1:
            return simplest, f"{title(simplest)} leaves the least to keep up"
        return simplest, f"{titles(equals)} leave equally little to keep up, {self._favoured(simplest, equals)}"

    def _favoured(self, chosen: ArmName, equals: list[ArmName]) -> str:
        """What speaks for an arm among those that leave equally little to keep up."""
        leads = [self.lead(chosen, arm).difference or 0.0 for arm in equals if arm != chosen]
        if min(leads) > 0:
            return f"and {title(chosen)} gave more right answers here"
        return f"and nothing that was measured speaks against {title(chosen)}"

    def _failed_headline(self, max_failed_share: float) -> str:
        cells = [self.cells[arm.name, OVERALL] for arm in self.arms]
        failed = any(cell.num_failed + cell.num_ungradable > max_failed_share * _num_asked(cell) for cell in cells)
        what = "calls failed" if failed else "answers are missing or unclear"
        return f"No recommendation: too many {what}."

    def _failures(self, max_failed_share: float, max_unclear_share: float) -> list[str]:
        sentences = []
        for arm in self.arms:
            cell = self.cells[arm.name, OVERALL]
            lost = cell.num_failed + cell.num_no_answer + cell.num_ungradable
            if lost > max_failed_share * _num_asked(cell):
                failed = f"{arm.title}: {cell.num_failed} of {_num_asked(cell)} calls failed"
                if cell.num_no_answer:
                    failed += f", {cell.num_no_answer} gave no answer"
                if cell.num_ungradable:
                    failed += f" and {cell.num_ungradable} answers could not be graded"
                sentences.append(
                    f"{failed}, and at most {percent(max_failed_share)} may.{commonest_failure(arm.failures)}"
                )
            if cell.num_unclear > max_unclear_share * _num_asked(cell):
                sentences.append(
                    f"{arm.title}: of {cell.num_unclear} of {_num_asked(cell)} answers the rules cannot say whether "
                    f"they are right, and at most {percent(max_unclear_share)} may be so. A judge can decide on them."
                )
        return sentences

    def _level(self, arm: ArmName) -> str:
        accuracy = self.cells[arm, OVERALL].accuracy
        return f"{title(arm)} answers {with_interval(accuracy)} of {accuracy.n} questions right."

    def _why_it_wins(self, best: ArmName) -> list[str]:
        others = [arm.name for arm in self.arms if arm.name != best and self.cells[arm.name, OVERALL].accuracy.n]
        if not others:
            return [self._level(best), "No answer of another arm counts."]
        next_best = max(others, key=lambda arm: (not self.is_out(arm), self._standing(arm, others, OVERALL)))
        behind = f"The next best is {title(next_best)} with {percent(self.share(next_best, OVERALL))}"
        lead = self.lead(best, next_best)
        counts = {self.cells[arm, OVERALL].accuracy.n for arm in (best, next_best)}
        both = "" if counts == {lead.n} else f" on the {lead.n} questions that both answered"
        return [f"{self._level(best)} {behind}; the lead{both} is {points_with_interval(lead).removeprefix('+')}."]

    def _why_it_ties(self, best: ArmName, chosen: ArmName, rivals: list[ArmName], why: str) -> list[str]:
        leads = [self.lead(best, rival) for rival in rivals]
        margin = points(max(round_up(max(map(reach, leads))), 0.01)).removeprefix("+")
        others = [arm for arm in (best, *rivals) if arm != chosen]
        equal = f"{titles(others)} {'is' if len(others) == 1 else 'are'} as good to within {margin}"
        return [self._level(chosen), *(self._flattery(best) if chosen == best else []), f"{equal}, and {why}."]

    def _what_is_open(self, leaders: list[ArmName]) -> list[str]:
        best, *rivals = leaders
        compared = [
            f"{title(best)} against {title(rival)}: {describe_lead(self.lead(best, rival))}." for rival in rivals
        ]
        _, why = self._preferred(leaders)
        documents = [words for rival in rivals[:1] if (words := describe_documents(self.lead(best, rival)))]
        level = [self._level(best), *self._flattery(best)]
        return [*level, *compared, *documents, f"If you have to choose now, {why}."]

    def _flattery(self, best: ArmName) -> list[str]:
        """By how much the best arm's share is too high, because it was chosen for it."""
        accuracy = self.cells[best, OVERALL].accuracy
        if self.optimism is None or self.optimism < SMALL or accuracy.share is None or accuracy.low is None:
            return []
        expected, low = (max(value - self.optimism, 0.0) for value in (accuracy.share, accuracy.low))
        return [
            f"Chosen as the best of {len(self.arms)}, {title(best)} probably looks better than it is by about "
            f"{points(self.optimism).removeprefix('+')}: on other questions like these expect {percent(expected)} "
            f"({bounds(low, accuracy.high or 1.0)})."
        ]

    def _is_best(self, arm: ArmName | None, leaders: list[ArmName]) -> bool:
        return arm is None or leaders[:1] == [arm]

    def _most_of_open(self, leaders: list[ArmName], what: Literal["more_questions", "more_documents"]) -> int | None:
        """So many that the hardest of the open comparisons is settled."""
        best, *rivals = leaders
        open_ones = [getattr(self.lead(best, rival), what) for rival in rivals]
        return max((number for number in open_ones if number is not None), default=None)

    def _would_change(self, outcome: str, arm: ArmName | None, leaders: dict[str, list[ArmName]]) -> list[str]:
        if outcome == "not_enough":
            more = self._most_of_open(leaders[OVERALL], "more_questions")
            documents = self._most_of_open(leaders[OVERALL], "more_documents")
            source = "" if documents is None else f" from about {two_figures(documents)} more documents"
            return (
                []
                if more is None
                else [f"About {two_figures(more)} more questions{source}, if the arms answer them as these."]
            )
        if arm is None or outcome not in DECIDED:
            return []
        changes = self._other_worth(arm, leaders[OVERALL]) if outcome == "tie" else self._another_level(arm)
        return [*changes, *self._other_prices(arm, leaders[OVERALL], outcome), *self._other_questions(arm, leaders)]

    def _another_level(self, arm: ArmName) -> list[str]:
        """From which `worth` on the winner only ties, with an arm that would then be chosen."""
        tying = sorted((reach(self.lead(arm, other.name)), other.name) for other in self.arms if other.name != arm)
        for least, _ in tying:
            chosen, why = self._preferred([arm, *(name for far, name in tying if far <= least)])
            if least > LARGE:
                return []
            if chosen != arm:
                margin = points(round_up(least)).removeprefix("+")
                return [f"If {margin} did not matter to you (`evaluation.worth`), there would be a tie, and {why}."]
        return []

    def _other_worth(self, arm: ArmName, leaders: list[ArmName]) -> list[str]:
        best = leaders[0]
        if arm == best or not self.lead(best, arm).separated:
            return []
        lead = points(self.lead(best, arm).difference or 0.0).removeprefix("+")
        return [f"If less than {lead} mattered to you (`evaluation.worth`): {title(best)} is better by {lead}."]

    def _other_prices(self, arm: ArmName, leaders: list[ArmName], outcome: str) -> list[str]:
        compared = leaders if outcome == "tie" else [each.name for each in self.arms]
        own = self.costs.get(arm)
        if outcome == "tie" and (own is None or own.answer_money is None or own.monthly_money is None):
            return [
                "Prices, which are not set (`evaluation.prices`): of arms that are as good the cheapest is recommended."
            ]
        turns = [each for each in self.break_even if {each.cheaper_above, each.than} <= set(compared)]
        return [
            f"More than {two_figures(each.questions_per_month)} questions a month: "
            f"{title(each.cheaper_above)} then costs less than {title(each.than)}."
            for each in turns
            if arm in (each.cheaper_above, each.than)
        ]

    def _other_questions(self, arm: ArmName, leaders: dict[str, list[ArmName]]) -> list[str]:
        better: dict[tuple[ArmName, ...], list[str]] = {}
        for name in self.slices:
            if leaders[name] and arm not in leaders[name] and self.cells[arm, name].accuracy.n:
                better.setdefault(tuple(leaders[name]), []).append(name)
        return [
            f"If most questions were like those of {listed(names)}: {titles(arms)} "
            f"{'is' if len(arms) == 1 else 'are'} better there."
            for arms, names in better.items()
        ]

    def _details(self, leaders: dict[str, list[ArmName]], arm: ArmName | None) -> list[str]:
        if not leaders:
            return []
        best = self.share(leaders[OVERALL][0], OVERALL)
        sentences = ["Even the best arm is wrong more often than right."] if best < 0.5 else []
        false_answers = self.cells[arm, OVERALL].false_answers if arm else None
        if arm and false_answers:
            sentences.append(
                f"{title(arm)} gives false answers to {with_interval(false_answers)} of the {false_answers.n} "
                "questions that nobody can answer."
            )
        sentences += [self._forgotten(result.name, result.name == arm) for result in self.arms]
        if out := [result.name for result in self.arms if self.is_out(result.name)]:
            after = listed([f"{title(name)} after {_num_asked(self.cells[name, OVERALL])} questions" for name in out])
            sentences.append(f"Not asked the rest, because they could not win any more (`evaluation.stages`): {after}.")
        return [sentence for sentence in sentences if sentence]

    def _forgotten(self, arm: ArmName, chosen: bool) -> str:
        """How a trained arm stands beside `base` on the general questions; where it holds, only of the chosen one."""
        lead = self.differences.get((arm, "base", GENERAL))
        if arm not in TRAINED or lead is None or lead.difference is None:
            return ""
        fell = lead.separated and lead.difference < 0
        if not (fell or chosen):
            return ""
        shares = (
            f"{percent(self.share(arm, GENERAL))} right, {percent(self.share('base', GENERAL))} with the base model"
        )
        outcome = "has forgotten" if fell else "has not measurably forgotten"
        return f"On {lead.n} general questions {title(arm)} {outcome}: {shares}, {points_with_interval(lead)}."

    def _best(self, slice_name: str, leaders: list[ArmName]) -> str:
        if not leaders:
            return "none is right"
        named = listed([f"{title(arm)} ({percent(self.share(arm, slice_name))})" for arm in leaders])
        return f"{named}{', not told apart' if len(leaders) > 1 else ''}"


def _num_asked(cell: Cell) -> int:
    return cell.num_questions - cell.num_not_asked


def _turned(original: Difference) -> Difference:
    low, high = (None if original.high is None else -original.high), (None if original.low is None else -original.low)
    difference = None if original.difference is None else -original.difference
    return original.model_copy(
        update={"first": original.second, "second": original.first, "difference": difference, "low": low, "high": high}
    )
