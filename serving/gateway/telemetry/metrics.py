"""Our Prometheus metrics. Ray exports them with its own and vLLM's, for the whole cluster, prefixed with `ray_`."""

from typing import Any

from ray.serve import metrics

from retrieval.store.collection import SEPARATOR
from serving.gateway.telemetry.record import RequestRecord

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]
TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
REQUEST_LABELS = ("model", "collection", "key")


class GatewayMetrics:
    """Labels: `model` with the version, `collection`, and `key`, the id of an API key (all may be empty)."""

    def __init__(self) -> None:
        self._requests = metrics.Counter(
            "tandem_requests_total", "Requests that have ended.", (*REQUEST_LABELS, "status")
        )
        self._refused = metrics.Counter("tandem_refusals_total", "Requests that were refused.", ("reason",))
        self._tokens = metrics.Counter("tandem_tokens_total", "Tokens of prompts and answers.", REQUEST_LABELS)
        self._seconds = _histogram("tandem_request_seconds", "From arrival to the end.", SECONDS)
        self._first = _histogram("tandem_first_token_seconds", "From arrival to the first token (TTFT).", SECONDS)
        self._per_token = _histogram("tandem_token_seconds", "For each token after the first (TPOT).", TOKEN_SECONDS)
        self._retrieval = _histogram("tandem_retrieval_seconds", "Embedding the question and searching.", SECONDS)
        self._running = metrics.Gauge("tandem_requests_running", "Requests that are being answered.")

    def running(self, number: int) -> None:
        self._running.set(number)

    def count(self, record: RequestRecord) -> None:
        """A request that has ended."""
        if record.status in (401, 403, 408, 429, 503):
            self._refused.inc(tags={"reason": record.code or str(record.status)})
        # Callers combine collections as they like, and each value of a label is kept for ever.
        collection = "several" if SEPARATOR in record.collection else record.collection
        labels = {
            "model": record.model if record.exists else "", "collection": collection if record.exists else "",
            "key": record.key.id if record.key else "",
        }  # fmt: skip
        self._requests.inc(tags=labels | {"status": str(record.status)})
        self._seconds.observe(record.seconds, tags=labels)
        if record.token_usage and record.status in (200, 499) and (number := record.token_usage.num_tokens):
            self._tokens.inc(number, tags=labels)
        for histogram, value in (
            (self._first, record.first_token_s),
            (self._per_token, record.per_token_s),
            (self._retrieval, record.retrieval_s),
        ):
            if value is not None:
                histogram.observe(value, tags=labels)


def _histogram(name: str, description: str, boundaries: list[float]) -> Any:
    return metrics.Histogram(name, description, boundaries=boundaries, tag_keys=REQUEST_LABELS)
