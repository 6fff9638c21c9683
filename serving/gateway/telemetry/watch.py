"""Where the end of every request is seen: metrics, the access log, and what a caller lets us keep."""

import json
import logging
import os
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from serving.api.requests import IncomingRequest
from serving.gateway.telemetry import tracing
from serving.gateway.telemetry.metrics import GatewayMetrics
from serving.gateway.telemetry.record import RequestRecord

ACCESS_LOG, KEPT_LOG = "access", "kept"
LOG_BYTES, NUM_LOGS = 64 * 2**20, 5


class RequestWatch:
    """Of one gateway.

    Args:
        folder: for the log files, one of each kind for each gateway; None writes none.
        log_prompts: write questions and answers into the access log.
    """

    def __init__(self, folder: Path | None, log_prompts: bool = False) -> None:
        self._meters, self._log_prompts = GatewayMetrics(), log_prompts
        self._access = _log(folder, ACCESS_LOG, LOG_BYTES)
        self._kept = _log(folder, KEPT_LOG, 0)
        self._num_running = 0

    def begin(self, kind: str, incoming: IncomingRequest, held: AsyncExitStack | ExitStack) -> RequestRecord:
        """A record that is counted and logged when `held` is closed."""
        record = RequestRecord(kind, incoming)
        record.span = tracing.begin_span(record)
        self._num_running += 1
        self._meters.running(self._num_running)
        held.callback(self._end, record)
        return record

    def rated(self, record: RequestRecord, answer_id: str, rating: str, comment: str) -> None:
        """What a caller thinks of an answer."""
        self._keep(record, {"id": answer_id, "rating": rating, "comment": comment})

    def _end(self, record: RequestRecord) -> None:
        self._num_running -= 1
        self._meters.running(self._num_running)
        self._meters.count(record)
        tracing.end_span(record.span, record)
        if self._access:
            self._access.info(_line(_access(record) | (_texts(record) if self._log_prompts else {})))
        if record.key and record.key.keep and record.status == 200 and record.question is not None:
            self._keep(record, {"id": record.answer_id, "model": record.model, "collection": record.collection,
                                "sources": record.sources, **_texts(record), **record.shown})  # fmt: skip

    def _keep(self, record: RequestRecord, what: dict[str, Any]) -> None:
        if self._kept:
            assert record.key
            self._kept.info(_line({"time": _now(), "key": record.key.id, **what}))


def _access(record: RequestRecord) -> dict[str, Any]:
    """No header, no question and no answer: a key is named by its id."""
    token_usage = record.token_usage
    return {
        "time": _now(), "id": record.incoming.id, "peer": record.incoming.peer, "kind": record.kind,
        "key": record.key.id if record.key else None, "model": record.model, "collection": record.collection or None,
        "status": record.status, "code": record.code, "seconds": round(record.seconds, 4),
        "first_token_s": _rounded(record.first_token_s), "token_s": _rounded(record.per_token_s),
        "retrieval_s": _rounded(record.retrieval_s), "tokens": token_usage.num_tokens if token_usage else None,
    }  # fmt: skip


def _texts(record: RequestRecord) -> dict[str, Any]:
    return {"question": record.question, "answer": record.answer}


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 5)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _log(folder: Path | None, name: str, most_bytes: int) -> logging.Logger | None:
    """Lines of JSON; with `most_bytes` old ones are dropped."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.Logger(f"tandem.{name}", logging.INFO)
    handler = RotatingFileHandler(
        folder / f"{name}-{os.uname().nodename}-{os.getpid()}.jsonl", maxBytes=most_bytes, backupCount=NUM_LOGS
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger
