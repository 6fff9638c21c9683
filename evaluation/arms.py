"""The arms of the comparison, as model names of an endpoint and the messages in front of a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.errors import TandemError
from evaluation.config import BUILT_IN, VARIANTS, ArmName, EndpointArm, built_in

TITLES: dict[ArmName, str] = {
    "base": "base", "few_shot": "base + examples", "retrieval": "retrieval", "tuned": "tuned",
    "tuned_retrieval": "tuned + retrieval", "raft": "tuned for retrieval", "live": "live version",
}  # fmt: skip
TITLES |= {name: f"{TITLES[arm]}, {'' if thinks else 'not '}thinking" for name, (arm, thinks) in VARIANTS.items()}


def _with_variants(*arms: ArmName) -> tuple[ArmName, ...]:
    """These arms, then the same asked to think and not to."""
    return (*arms, *(name for name, (arm, _) in VARIANTS.items() if arm in arms))


ARMS_OF: dict[str, tuple[ArmName, ...]] = {
    "tuned": _with_variants("tuned", "tuned_retrieval"), "raft": _with_variants("raft")
}  # fmt: skip
"""The arms that each training serves."""
TRAINED: tuple[ArmName, ...] = tuple(arm for arms in ARMS_OF.values() for arm in arms)
RETRIEVING: tuple[ArmName, ...] = _with_variants("retrieval", "tuned_retrieval", "raft")
# What there is to keep up: nothing, a prompt, an index, an adapter to train again, both, both and rows to make anew.
SIMPLEST_FIRST: tuple[ArmName, ...] = BUILT_IN


def title(arm: ArmName) -> str:
    """The arm's name for a reader; an endpoint's is its own."""
    return TITLES.get(arm, arm)


def simplicity(arm: ArmName) -> float:
    """Sorts what leaves the least to keep up first; another endpoint, kept up by others, stands behind
    `few_shot`, and what is live already before what is trained anew."""
    plain = built_in(arm)
    return 2 * SIMPLEST_FIRST.index(plain) if plain in SIMPLEST_FIRST else 3 if arm != "live" else 4.5


@dataclass(frozen=True)
class Shot:
    """A question and its answer that stand in front of the one that is asked."""

    question: str
    answer: str


@dataclass(frozen=True)
class Arm:
    """One way of answering. `model` is what is sent as the model's name.

    `endpoint` is set where it is not the project's own that is asked; `shots` are turns in front of the question.
    `thinking`: whether its model is asked to think; None leaves it to the chat template. `thinks`: whether it does, as
    far as that is known before it is asked.
    """

    name: ArmName
    model: str
    endpoint: EndpointArm | None = None
    shots: tuple[Shot, ...] = ()
    thinking: bool | None = None
    thinks: bool | None = None

    @property
    def title(self) -> str:
        return title(self.name)

    @property
    def retrieves(self) -> bool:
        return self.endpoint is None and "+" in self.model


def make_arms(
    names: Sequence[ArmName],
    base: str = "base",
    tuned: str | None = None,
    collection: str | None = None,
    *,
    raft: str | None = None,
    endpoints: Mapping[ArmName, EndpointArm] | None = None,
    shots: Sequence[Shot] = (),
) -> list[Arm]:
    """The arms of these names, in this order.

    Args:
        tuned: the name of the tuned model, pinned to a version, such as `base:helpdesk@3`.
        collection: the name of an indexed collection.
        raft: the name of the model that was tuned for retrieval, pinned to a version.
        endpoints: other endpoints by the name of their arm.
        shots: what the arm `few_shot` sees in front of each question.

    Raises:
        TandemError: where an arm needs a tuned model, a collection or examples that are not there.
    """
    trained = {"tuned": tuned, "tuned_retrieval": tuned, "raft": raft}
    arms = []
    for name in names:
        if endpoints and name in endpoints:
            arms.append(Arm(name, endpoints[name].model, endpoints[name]))
            continue
        model, plain = base, built_in(name)
        if name in TRAINED:
            model = trained[plain] or _missing(name, "a tuned model", "Run `tandem train`")
        if name in RETRIEVING:
            model += f"+{collection or _missing(name, 'an indexed collection', 'Run `tandem index`')}"
        if plain == "few_shot" and not shots:
            _missing(name, "training rows to show", "Name `training.data`")
        shown = tuple(shots) if plain == "few_shot" else ()
        thinking = VARIANTS[name][1] if name in VARIANTS else None
        arms.append(Arm(name, model, shots=shown, thinking=thinking))
    return arms


def _missing(name: ArmName, what: str, remedy: str) -> str:
    raise TandemError(
        f"The arm `{name}` needs {what} and there is none.",
        "Every arm in `evaluation.arms` can be served.",
        f"{remedy}, or take `{name}` out of `evaluation.arms`.",
    )
