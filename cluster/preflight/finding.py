"""What a check found, and how checks are run so that one that breaks is a finding too."""

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cluster.errors import TandemError

Status = Literal["ok", "warning", "failed"]
# What a check may end with on a machine that is not as it should be. Anything else is a fault of ours.
BROKEN = (TandemError, OSError, ValueError, RuntimeError, ImportError, subprocess.SubprocessError)


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Args:
        seen: what was found, with its numbers.
        remedy: what to do; empty only where nothing is to be done.
        node: address of the node; empty for this machine, and for what concerns all nodes.
        values: the numbers for `--json`; their units are in their names.
    """

    check: str
    status: Status
    seen: str
    remedy: str = ""
    node: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.status == "ok" or self.remedy, f"{self.check}: a finding that is not good says what to do"

    def on(self, node: str) -> "Finding":
        return replace(self, node=node)


def run_checks(checks: dict[str, Callable[[], Iterable[Finding]]]) -> Iterator[Finding]:
    """The findings of all checks, by name; one that breaks is failed with the reason, and the others go on."""
    for name, check in checks.items():
        try:
            yield from check()
        except TandemError as error:
            yield Finding(name, "failed", error.seen, f"{error.accepted} {error.remedy}")
        except BROKEN as error:
            yield broken_check(name, error)


def broken_check(check: str, error: BaseException, node: str = "") -> Finding:
    """A check that could not be carried out."""
    reason = str(error).strip().partition("\n")[0][:300]
    message = f"the check did not get through: {type(error).__name__}: {reason}"
    return Finding(check, "failed", message, "Correct what the message names, and run `tandem doctor` again.", node)
