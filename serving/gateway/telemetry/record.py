"""What is known of one request. It is filled in while the request is answered, and counted and logged at its end."""

import time
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import INVALID_SPAN, Span

from serving.access.keys import Key
from serving.access.token_usage import TokenUsage
from serving.api.errors import ApiError
from serving.api.requests import IncomingRequest

CUT = 499
"""Status in the log of a request whose client went away."""


@dataclass
class RequestRecord:
    """One request, without what was asked and answered but for `question`, `answer` and `shown`."""

    kind: str
    incoming: IncomingRequest
    started: float = field(default_factory=time.monotonic)
    key: Key | None = None
    model: str = ""
    """As pinned, such as `base:support@7`; the collection is apart."""
    collection: str = ""
    exists: bool = False
    """Whether model and collection are known to exist: anybody can send any name."""
    span: Span = INVALID_SPAN
    status: int = CUT
    code: str | None = None
    token_usage: TokenUsage | None = None
    retrieval_s: float | None = None
    sources: list[str] = field(default_factory=list)
    answer_id: str = ""
    question: Any = field(default=None, repr=False)
    answer: str = field(default="", repr=False)
    """Both are kept where the key's owner or the settings allow it, and forgotten with the record otherwise."""
    shown: dict[str, Any] = field(default_factory=dict, repr=False)
    """`tools` and `chat_template_kwargs` that the prompt of a chat was made with; kept as the question is."""

    def refused(self, error: ApiError) -> None:
        self.status, self.code = error.status, error.code or str(error.status)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def first_token_s(self) -> float | None:
        """Seconds to the first token of a streamed answer."""
        first = self.token_usage.first_at if self.token_usage else None
        return None if first is None else first - self.started

    @property
    def per_token_s(self) -> float | None:
        """Seconds for each token after the first."""
        token_usage = self.token_usage
        if (
            token_usage is None
            or token_usage.first_at is None
            or token_usage.last_at is None
            or token_usage.generated < 2
        ):
            return None
        return (token_usage.last_at - token_usage.first_at) / (token_usage.generated - 1)
