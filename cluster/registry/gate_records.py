"""What a version was held against before it may go live, and who let it past a failed gate.

    <adapters>/<name>/checks/v<N>-gates.json

It stands beside the parity check, since a version's manifest never changes. `push` copies it with the version.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from cluster.errors import TandemError
from cluster.storage.objects import SharedRecord


class GateResult(BaseModel):
    """One thing that a version has to hold; `seen` has the numbers in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    seen: str


class Despite(BaseModel):
    """Why a version went live despite failed gates, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    failed: list[str]
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
        return [gate for gate in self.gates if not gate.passed]


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
    """Let a version go on to promotion, and keep the reason where a gate failed.

    Args:
        version: its name for the message, such as `support@7`.
        despite: why it goes live all the same; None where nobody said so.

    Raises:
        TandemError: a gate failed and there is no reason, or the reason is empty.
    """
    if despite is not None and not despite.strip():
        raise TandemError("`--despite` is empty.", "A reason in words; it is kept.", "Say why it should go live.")
    check = read_gates(record)
    if check is None or not check.failed:
        return
    if despite is None:
        seen = " ".join(f"{gate.name}: {gate.seen}" for gate in check.failed)
        raise TandemError(
            f"{version} failed {len(check.failed)} of {len(check.gates)} gates. {seen}",
            "Every gate is passed (`evaluation.gates`), or the reason is given why it goes live all the same.",
            f'Train it again, or run `tandem adapters promote {version} --despite "..."`: the reason is kept.',
        )
    reason = Despite(reason=despite.strip(), failed=[gate.name for gate in check.failed], promoted=_now())

    def with_reason(before: bytes | None) -> bytes:
        known = GateCheck.model_validate_json(before) if before else check
        return _json(known.model_copy(update={"despite": [*known.despite, reason]}))

    record.update(with_reason)


def _json(check: GateCheck) -> bytes:
    return (check.model_dump_json(indent=2) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
