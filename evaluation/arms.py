"""The arms of the comparison, as model names of one endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.errors import TandemError
from evaluation.config import ArmName

TITLES: dict[ArmName, str] = {
    "base": "base", "tuned": "tuned", "retrieval": "retrieval", "hybrid": "tuned + retrieval",
}  # fmt: skip
# What there is to keep up: nothing, an index, an adapter to train again, both.
SIMPLEST_FIRST: tuple[ArmName, ...] = ("base", "retrieval", "tuned", "hybrid")


@dataclass(frozen=True)
class Arm:
    """One way of answering. `model` is what is sent as the model's name."""

    name: ArmName
    model: str

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @property
    def retrieves(self) -> bool:
        return self.name in ("retrieval", "hybrid")


def make_arms(
    names: Sequence[ArmName], base: str = "base", tuned: str | None = None, collection: str | None = None
) -> list[Arm]:
    """The arms of these names, in this order.

    Args:
        tuned: the name of the tuned model, pinned to a version, such as `base:helpdesk@3`.
        collection: the name of an indexed collection.

    Raises:
        TandemError: where an arm needs a tuned model or a collection that is not there.
    """
    return [Arm(name, _model(name, base, tuned, collection)) for name in names]


def _model(name: ArmName, base: str, tuned: str | None, collection: str | None) -> str:
    model = base
    if name in ("tuned", "hybrid"):
        model = tuned or _missing(name, "a tuned model", "Run `tandem train`")
    if name in ("retrieval", "hybrid"):
        model += f"+{collection or _missing(name, 'an indexed collection', 'Run `tandem index`')}"
    return model


def _missing(name: ArmName, what: str, remedy: str) -> str:
    raise TandemError(
        f"The arm `{name}` needs {what} and there is none.",
        "Every arm in `evaluation.arms` can be served.",
        f"{remedy}, or take `{name}` out of `evaluation.arms`.",
    )
