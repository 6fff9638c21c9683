"""What an endpoint says instead of an answer: the message, the codes, and whether another try can help.

error = read_error(429, b'{"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}')
error.message, error.codes, error.is_final
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evaluation.asking.responses.json_bodies import parse_json, printable

MAX_SHOWN_CHARACTERS = 300
MAX_DEPTH = 8
MAX_LITERAL = 10_000
BUSY = (429, 529)
TRIED_AGAIN = (*BUSY, 408, 425, 500, 502, 503, 504, 520, 522, 523, 524)
"""408 and 425 ask for another try; 52x are Cloudflare's words for a server behind it that is overloaded or gone."""

FINAL = (401, 402, 403, 404, 405, 407, 410)
"""Every further call to the same model would be answered alike."""

QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
NO_MONEY = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|credit balance is too low|out of credits", re.I
)
FILTERED = frozenset({
    "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed",
})  # fmt: skip
TOO_LARGE = re.compile(r"request too large|tokens must be reduced", re.I)
"""A limit of tokens a minute that is smaller than this one request."""


@dataclass(frozen=True)
class EndpointError:
    """A reply that is an error. `records` are all objects in its body, `texts` all its texts in words."""

    status: int
    message: str
    codes: frozenset[str]
    records: tuple[dict[str, Any], ...]
    texts: tuple[str, ...]

    @property
    def is_filtered(self) -> bool:
        """A content filter of the endpoint refused the question."""
        if self.status not in (400, 403, 422):
            return False
        return bool(self.codes & FILTERED) or any(record.get("flagged_input") for record in self.records)

    @property
    def lacks_money(self) -> bool:
        return self.status == 402 or bool(self.codes & QUOTA) or any(map(NO_MONEY.search, self.texts))

    @property
    def is_final(self) -> bool:
        """Whether every further call would fail alike: no key, no such model, no money."""
        return self.status in FINAL or self.lacks_money

    @property
    def is_busy(self) -> bool:
        """The endpoint has too much to do, or too many calls come from here."""
        return self.status in BUSY

    @property
    def is_tried_again(self) -> bool:
        is_too_large = self.status == 429 and any(map(TOO_LARGE.search, self.texts))
        return self.status in TRIED_AGAIN and not self.lacks_money and not is_too_large


def read_error(status: int, content: bytes) -> EndpointError:
    """The error in the body of a response, whatever the body is."""
    try:
        body = parse_json(content)
    except ValueError:
        text = content.decode(errors="replace")
        return EndpointError(status, shorten(text), frozenset(), (), (text,))
    return error_in(status, body)


def error_in(status: int, body: Any) -> EndpointError:
    """The error in a body that is read already."""
    records = tuple(_records(body))
    codes = {str(record[name]).casefold() for record in records for name in ("code", "type") if record.get(name)}
    texts = tuple(dict.fromkeys(_texts(body)))
    return EndpointError(status, shorten(_message(body) or str(body)), frozenset(codes), records, texts)


def status_in(body: Any) -> int | None:
    """The status of an error that came with the status 200, as gateways send it; None where the body is no error."""
    if not isinstance(body, dict) or not body.get("error") or body.get("choices"):
        return None
    error = body["error"]
    codes = [error.get("code"), error.get("status")] if isinstance(error, dict) else []
    numbers = (str(code) for code in codes)
    return next((int(number) for number in numbers if re.fullmatch("[45][0-9]{2}", number)), 400)


def shorten(value: object) -> str:
    """A text on one line, cut after 300 characters."""
    text = printable(" ".join(str(value)[: 20 * MAX_SHOWN_CHARACTERS].split()))
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _message(body: Any, depth: int = 0) -> str | None:
    """OpenAI's `error.message`, FastAPI's `detail`, or what others have in their place."""
    if isinstance(body, str) or depth > MAX_DEPTH:
        return body if isinstance(body, str) else None
    if isinstance(body, list):
        return "; ".join(filter(None, (_message(each, depth + 1) for each in body[:5]))) or None
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("loc"), list) and isinstance(body.get("msg"), str):
        return f"{'.'.join(map(str, body['loc']))}: {body['msg']}"
    names = ("error", "message", "detail", "errors", "msg", "error_description", "title")
    return next((found for name in names if (found := _message(body.get(name), depth + 1))), None)


def _records(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _records(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _records(each, depth + 1)
    elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        yield from _records(_parsed(value), depth + 1)


def _parsed(text: str) -> Any:
    """An error as text in an error: a gateway passes on what the model's own endpoint said, vLLM what pydantic did."""
    try:
        return parse_json(text.encode(errors="replace"))
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip()[:MAX_LITERAL])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth <= MAX_DEPTH and isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else ((None, each) for each in value):
            if name != "input":  # pydantic repeats what was sent
                yield from _texts(each, depth + 1)
