"""How a version did at its gates, and why it went live where one of them held it.

    <adapters>/<name>/checks/v<N>-gates.json

It stands beside the parity check, since a version's manifest never changes. `push` copies it with the version.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord

GateOutcome = Literal["passed", "refused", "undecided"]


class GateResult(BaseModel):
    """One test of a version; `seen` has the numbers in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    outcome: GateOutcome = "refused"
    """`undecided`: there are not enough questions to tell. Records of earlier versions have `passed` alone."""

    holds: bool = True
    """Whether it keeps the version from going live: every refusal does, an undecided gate as the settings say."""

    seen: str

    @model_validator(mode="before")
    @classmethod
    def _without_outcome(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "outcome" in data:
            return data
        passed = data.get("passed")
        return data | {"outcome": "passed" if passed else "refused", "holds": not passed}


class Candidate(BaseModel):
    """The new version that gates are about, and the live version that it was compared with; arms by their names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    """Name and version, such as `support@7`."""

    arm: str
    live: str | None = None
    """None where no other version is live."""

    live_arm: str | None = None


class Despite(BaseModel):
    """Why a version went live despite gates that held it, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    failed: list[str]
    """The gates that held it: failed ones, and undecided ones where these hold."""

    promoted: str


class GateCheck(BaseModel):
    """The gates of a version as they were last measured, and every reason that was given to pass them by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gates: list[GateResult]
    run: str | None = None
    """The comparison that measured them."""

    checked: str
    despite: list[Despite] = []

    @property
    def failed(self) -> list[GateResult]:
        """The gates that refused the version."""
        return [gate for gate in self.gates if gate.outcome == "refused"]

    @property
    def undecided(self) -> list[GateResult]:
        """The gates that had not enough questions to tell."""
        return [gate for gate in self.gates if gate.outcome == "undecided"]

    @property
    def holding(self) -> list[GateResult]:
        """The gates that keep the version from going live."""
        return [gate for gate in self.gates if gate.holds]


def read_gates(record: SharedRecord) -> GateCheck | None:
    """What stands in a version's record; None where its gates were never measured."""
    return GateCheck.model_validate_json(content) if (content := record.read()) else None


def write_gates(record: SharedRecord, gates: Iterable[Mapping[str, Any]], run: str | None) -> GateCheck:
    """Keep what was measured in the place of what was before; the reasons stay."""
    results = [GateResult.model_validate(gate) for gate in gates]
    check = GateCheck(gates=results, run=run, checked=_now())

    def measured(before: bytes | None) -> bytes:
        despite = GateCheck.model_validate_json(before).despite if before else []
        return _json(check.model_copy(update={"despite": despite}))

    record.update(measured)
    return check if (earlier := read_gates(record)) is None else earlier


def pass_gates(record: SharedRecord, version: str, despite: str | None) -> None:
    """Let a version go on to promotion, and keep the reason where a gate holds it.

    Args:
        version: its name for the message, such as `support@7`.
        despite: why it goes live all the same; None where nobody said so.

    Raises:
        TandemError: a gate holds the version and there is no reason, or the reason is empty.
    """
    if despite is not None and not despite.strip():
        raise TandemError("`--despite` is empty.", "A reason in words; it is kept.", "Say why it should go live.")
    check = read_gates(record)
    if check is None or not check.holding:
        return
    if despite is None:
        raise _held(check, version)
    reason = Despite(reason=despite.strip(), failed=[gate.name for gate in check.holding], promoted=_now())

    def with_reason(before: bytes | None) -> bytes:
        known = GateCheck.model_validate_json(before) if before else check
        return _json(known.model_copy(update={"despite": [*known.despite, reason]}))

    record.update(with_reason)


def describe_gates(gates: Sequence[GateResult], version: str) -> str:
    """What became of a version at its gates, in sentences that name it."""
    refused, undecided = (
        [gate.name for gate in gates if gate.outcome == outcome] for outcome in ("refused", "undecided")
    )
    if not refused and not undecided:
        return f"{version} passed {f'all {len(gates)} gates' if len(gates) > 1 else 'its one gate'}."
    sentences = [f"{version} was refused by {_which(refused, gates)}."] if refused else []
    if undecided:
        sentences.append(f"There are not enough questions to tell about {version} at {_which(undecided, gates)}.")
    return " ".join(sentences)


def _which(names: Sequence[str], gates: Sequence[GateResult]) -> str:
    number = f"{len(names)} of {len(gates)} gates" if len(gates) > 1 else "its one gate"
    return f"{number}: {', '.join(names)}"


def _held(check: GateCheck, version: str) -> TandemError:
    num_gates, undecided = len(check.gates), [gate for gate in check.undecided if gate.holds]
    parts = (
        [f"{version} failed {len(check.failed)} of {num_gates} gates. {_seen(check.failed)}"] if check.failed else []
    )
    if undecided:
        what = f"{len(undecided)} of {num_gates} gates had not enough questions to tell about {version}."
        parts.append(f"{what} {_seen(undecided)}")
    more = " Or add questions and run `tandem compare`: answers that are known are not asked again." * bool(undecided)
    return TandemError(
        " ".join(parts),
        "Every gate is passed (`evaluation.gates`), or the reason is given why it goes live all the same.",
        f'Train it again, or run `tandem adapters promote {version} --despite "..."`: the reason is kept.{more}',
    )


def _seen(gates: Iterable[GateResult]) -> str:
    return " ".join(f"{gate.name}: {gate.seen}" for gate in gates)


def _json(check: GateCheck) -> bytes:
    return (check.model_dump_json(indent=2) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
