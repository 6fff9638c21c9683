"""A request's trace across gateway, retrieval and vLLM, as a collector gets it."""

import time

import httpx
import pytest

from tests.serving.served_app import ADAPTER, COLLECTION, Endpoint

pytestmark = pytest.mark.slow
SENT_AFTER_S = 20
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_goes_from_the_caller_to_the_engine(endpoint: Endpoint, stream: bool) -> None:
    trace = f"4bf92f3577b34da6a3ce929d0e0e473{int(stream)}"
    question = "What is the atomic number of PRIVATE-2718281?"
    body = {
        "model": f"base:{ADAPTER}+{COLLECTION}",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 4,
    }
    headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
    answer = httpx.post(f"{endpoint.url}/chat/completions", json=body | {"stream": stream}, headers=headers, timeout=60)
    assert answer.status_code == 200
    deadline = time.monotonic() + SENT_AFTER_S
    while {"tandem chat", "retrieval", "engine", "llm_request"} - set(found := endpoint.collector.of(trace)):
        assert time.monotonic() < deadline, set(found)
        time.sleep(0.2)
    (_, request), (_, retrieval), (_, engine), (service, computed) = (
        found[name] for name in ("tandem chat", "retrieval", "engine", "llm_request")
    )
    assert request.parent_span_id.hex() == PARENT
    assert retrieval.parent_span_id == engine.parent_span_id == request.span_id
    assert computed.parent_span_id == engine.span_id and service == "tandem-engine"
    assert retrieval.end_time_unix_nano <= engine.start_time_unix_nano
    assert request.end_time_unix_nano >= engine.end_time_unix_nano
    known = {each.key: each.value for each in request.attributes}
    assert known["tandem.model"].string_value == f"base:{ADAPTER}@1"
    assert known["tandem.collection"].string_value == COLLECTION
    assert known["http.response.status_code"].int_value == 200
    assert "PRIVATE-2718281" not in str(found), "spans hold no prompts"
