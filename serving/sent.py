"""A request as it came in over HTTP."""

import re
import uuid
from dataclasses import dataclass, field

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def new_id() -> str:
    return f"req-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Sent:
    """Body and Authorization header of a request, the address that it came from, and the id that it is logged by."""

    raw: bytes = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    peer: str = ""
    id: str = field(default_factory=new_id)
    traceparent: str | None = None
    """Of the caller's trace (w3.org/TR/trace-context)."""


def request_id(header: str | None) -> str:
    """The caller's own id where it is fit for a log, or a new one."""
    return header if header and _ID.fullmatch(header) else new_id()
