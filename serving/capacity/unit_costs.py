"""What one request takes of each part, as it was measured: the figures that a capacity plan is made of.

    shipped()["gateway_s"]                   measured on the machine that the file names
    read(storage.root / "capacity.json")     measured by `tandem plan-serve --measure URL` on yours

An engine is a line of two terms: with n requests in a batch each takes `each + shared / n` seconds of it. Both grow
with the tokens: `each` by `prefill_s` for each one in and `step_each_s` for each one out, `shared` by `step_s`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import TandemError

SHIPPED_COSTS = Path(__file__).parent / "unit_costs.json"
NAMES = {
    "gateway_s": "seconds of a core of a gateway for each request",
    "gateway_token_s": "and for each token that it streams",
    "gateway_retrieval_s": "and for a question that is searched for",
    "limiter_s": "seconds of a core of the limiter for each request of a key with limits",
    "redis_s": "seconds of Redis for the same",
    "retriever_s": "seconds of a core of a retriever for each question",
    "search_s": "seconds of a core of a Milvus query node for a dense search in one segment",
    "adapter_load_s": "seconds of an engine for an adapter that is not loaded",
    "controller_s": "seconds of a core of Serve's controller for each replica and second",
}
"""Every cost but the engine's."""


@dataclass(frozen=True)
class UnitCost:
    """One figure and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class EngineCosts:
    """Of one engine with one model on one kind of device."""

    model: str
    prefill_s: float
    """Seconds for each token of a prompt."""
    step_s: float
    """Seconds of a step that do not depend on how many requests are in the batch."""
    step_each_s: float
    """Seconds that each request adds to a step."""
    batch: int
    """Most requests that were in a batch when this was measured."""
    gpus: int
    cores: int
    """What one engine has; without a GPU the cores of the machine that it was measured on, and shared with the rest."""
    source: str
    digest: str = ""
    """Of the model's files, where the project that it was measured for is not the only one that has it."""

    def each_s(self, tokens_in: float, tokens_out: float) -> float:
        return tokens_in * self.prefill_s + tokens_out * self.step_each_s

    def batch_s(self, tokens_out: float) -> float:
        return tokens_out * self.step_s


@dataclass(frozen=True)
class UnitCosts:
    """All of them; `engines` by the model as a project file names it."""

    costs: Mapping[str, UnitCost] = field(default_factory=dict)
    engines: Mapping[str, EngineCosts] = field(default_factory=dict)

    def __getitem__(self, name: str) -> UnitCost:
        return self.costs[name]

    def over(self, other: "UnitCosts") -> "UnitCosts":
        """These where there are any, else the other's."""
        return UnitCosts({**other.costs, **self.costs}, {**other.engines, **self.engines})

    def engine(self, model: str) -> EngineCosts:
        """Raises TandemError where the model was not measured."""
        if model not in self.engines:
            raise TandemError(
                f"What an engine with {model} takes was not measured; known are {', '.join(self.engines) or 'none'}.",
                "A measurement of the model on the hardware that it will run on: no figure is guessed, and none was "
                "measured on a GPU here.",
                "Serve it there (`tandem serve`) and run `tandem plan-serve --measure URL ...`; it takes about a "
                "minute and is kept under `storage`.",
            )
        return self.engines[model]


@dataclass(frozen=True)
class Level:
    """One closed load: so many clients, each with its next question after its answer."""

    clients: int
    requests_per_s: float


def engine_costs(
    model: str, levels: Sequence[Level], short: Level, tokens_in: int, tokens_out: int, engines: int, gpus: int,
    cores: int, source: str,
) -> EngineCosts:  # fmt: skip
    """The engine's costs from loads of so many tokens, and from one whose answers have one token.

    What the gateway takes is in it where both share the machine's cores: the plan is then on the safe side.

    Raises:
        TandemError: fewer than two numbers of clients.
    """
    if len({level.clients for level in levels}) < 2:
        raise TandemError(
            "The engine was loaded with one number of clients only.",
            "Two at least: what a batch shares shows in the difference.",
            "Give several numbers of clients.",
        )
    each, shared = fit_batch([(level.clients / engines, engines / level.requests_per_s) for level in levels])
    step = shared / tokens_out
    alone = engines / short.requests_per_s - each / tokens_out - step * engines / short.clients
    prefill = min(each, max(0.0, alone / (1 - 1 / tokens_out))) if tokens_out > 1 else each
    return EngineCosts(
        model, prefill / tokens_in, step, (each - prefill) / tokens_out,
        max(1, max(level.clients for level in levels) // engines), gpus, cores, source,
    )  # fmt: skip


def fit_batch(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """`each` and `shared` of seconds = each + shared / number, over (number, seconds); every point weighs the same."""
    rows = [(1 / seconds, 1 / number / seconds) for number, seconds in points]
    aa, ab, bb = (sum(x * y for x, y in found) for found in (
        [(a, a) for a, _ in rows], rows, [(b, b) for _, b in rows],
    ))  # fmt: skip
    a, b = sum(a for a, _ in rows), sum(b for _, b in rows)
    scale = aa * bb - ab * ab
    each, shared = (a * bb - b * ab) / scale, (b * aa - a * ab) / scale
    if shared < 0:
        return a / aa, 0.0
    if each <= 0:
        return 0.0, b / bb
    return each, shared


def shipped_costs() -> UnitCosts:
    """Measured for this project, on the machine that each source names."""
    return read_costs(SHIPPED_COSTS)


def read_costs(path: Path) -> UnitCosts:
    """The costs of a file.

    Raises:
        TandemError: it is missing, or not such a file.
    """
    try:
        values = json.loads(path.read_text())
        costs = UnitCosts(
            {name: UnitCost(**cost) for name, cost in values["costs"].items()},
            {model: EngineCosts(**engine) for model, engine in values["engines"].items()},
        )
        _check(costs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TandemError(
            f"{path} holds no unit costs ({type(error).__name__}: {error}).",
            "A file that `tandem plan-serve --measure URL` wrote: costs, and engines by model, above zero.",
            "Measure again, or name another file with --costs.",
        ) from error
    return costs


def costs_to_json(costs: UnitCosts) -> dict[str, Any]:
    return {
        "costs": {name: asdict(cost) for name, cost in costs.costs.items()},
        "engines": {model: asdict(engine) for model, engine in costs.engines.items()},
    }


def _check(costs: UnitCosts) -> None:
    if unknown := costs.costs.keys() - NAMES.keys():
        raise ValueError(f"unknown cost {', '.join(sorted(unknown))}")
    for name, cost in costs.costs.items():
        if not (math.isfinite(cost.value) and cost.value >= 0):
            raise ValueError(f"{name} is {cost.value}")
    for model, engine in costs.engines.items():
        numbers = (engine.prefill_s, engine.step_s, engine.step_each_s)
        positive = all(math.isfinite(number) and number >= 0 for number in numbers) and sum(numbers) > 0
        if not positive or engine.batch < 1:
            raise ValueError(f"the engine of {model} takes {numbers}")
