"""Errors as the endpoint answers them: a status and OpenAI's body."""

import random
from typing import Any

from cluster.errors import TandemError

_TYPES = {404: "invalid_request_error", 408: "timeout_error", 429: "rate_limit_error", 503: "service_unavailable_error"}


class ApiError(Exception):
    """Ends a request with `status` and `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = _wait(retry_after_s) if retry_after_s else {}

    @classmethod
    def of(cls, error: TandemError, status: int, *, param: str | None = None, code: str | None = None) -> "ApiError":
        """The same words, as an answer to a request."""
        return cls(status, str(error), param=param, code=code)

    def body(self) -> dict[str, Any]:
        return error_body(self.status, self.message, self.param, self.code)


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's error shape."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _wait(seconds: int) -> dict[str, str]:
    """When to try again. OpenAI's clients go by the second header where there is one: up to a second later each, lest
    all who were refused at one moment come back at one moment."""
    spread_ms = random.randrange(1000)
    return {"Retry-After": str(seconds), "Retry-After-Ms": str(1000 * seconds + spread_ms)}
