"""Whom a document is for, and who is asking.

A document may have a tenant and labels. A caller finds it where the tenant is the caller's and, if it has labels, the
caller has at least one of them. A document without a tenant is for all tenants, one without labels for everybody in
its tenant. So a caller without rights finds only what is for everybody: whoever forgets to pass rights shows nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.filters.filters import (
    LABEL_COLUMNS,
    NUM_LABELS,
    And,
    Filter,
    In,
    Or,
    Scalar,
    metadata_field,
    shown,
    unfit,
)

MAX_HELD = 100
MAX_NAME_BYTES = 256
MAX_METADATA_BYTES = 60_000


@dataclass(frozen=True)
class Attributes:
    """What a document carries besides its text. `tenant` is empty where it is for all tenants.

    Raises:
        TandemError: (when made) a value that not every store gives back exactly, or more labels than are kept.
    """

    tenant: str = ""
    access: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tenant:
            _check_name("tenant", self.tenant)
        _check_labels(self.access, NUM_LABELS)
        if (length := len(json.dumps(_typed(self.metadata)))) > MAX_METADATA_BYTES:
            raise TandemError(
                f"The metadata have {length} bytes as JSON.", f"Up to {MAX_METADATA_BYTES} are kept.", "Shorten them."
            )

    @property
    def digest(self) -> str:
        """SHA-256 (hex): what decides whether a document that says the same is written again."""
        return digest_json([self.tenant, sorted(set(self.access)), _typed(self.metadata)])

    def fields(self) -> dict[str, Scalar]:
        """The fields of a row in which they are kept; the first label column is empty only where there is no label."""
        labels = sorted(set(self.access))
        padded = labels + [""] * (NUM_LABELS - len(labels))
        columns = zip(LABEL_COLUMNS, padded, strict=True)
        return {"tenant": self.tenant, **dict(columns), **_typed(self.metadata)}


@dataclass(frozen=True)
class Rights:
    """Who asks: a tenant, or None, and the labels that the caller holds.

    Raises:
        TandemError: (when made) a name that no document can carry.
    """

    tenant: str | None = None
    labels: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.tenant is not None:
            _check_name("tenant", self.tenant)
        _check_labels(self.labels, MAX_HELD)


def allowed(rights: Rights) -> Filter:
    """The filter of what the caller may find. It is joined to every search by `and`."""
    tenants = ("",) if rights.tenant is None else ("", rights.tenant)
    held = tuple(sorted(rights.labels))
    first, *others = LABEL_COLUMNS
    labels: Filter = In(first, ("", *held))
    if held:
        labels = Or((labels, *(In(column, held) for column in others)))
    return And((In("tenant", tenants), labels))


def _typed(metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return dict(metadata_field(name, value) for name, value in metadata.items())


def _check_labels(labels: object, most: int) -> None:
    if not isinstance(labels, tuple | frozenset):
        raise TandemError(
            f"Labels are given as a {type(labels).__name__}.", "Several labels, each a text.", "Pass a list of them."
        )
    if len(labels) > most:
        raise TandemError(
            f"There are {len(labels)} labels.",
            f"A document has up to {NUM_LABELS}, a caller up to {MAX_HELD}.",
            "Give a name of its own to those who belong together.",
        )
    for label in labels:
        _check_name("label", label)


def _check_name(what: str, name: object) -> None:
    reason = "is no text" if not isinstance(name, str) else "is empty" if not name else unfit(name)
    if reason is None and isinstance(name, str) and (length := len(name.encode())) > MAX_NAME_BYTES:
        reason = f"has {length} bytes of UTF-8"
    if reason is not None:
        raise TandemError(
            f"The {what} {shown(name)} {reason}.",
            f"A {what} is a text of 1 to {MAX_NAME_BYTES} bytes of UTF-8 that every store gives back as it was.",
            f"Rename the {what}.",
        )


NOBODY = Rights()
"""A caller of whom nothing is known."""
