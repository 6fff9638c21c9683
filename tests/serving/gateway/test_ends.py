"""Which stop tokens a request gets that asks for an adapter."""

from typing import Any

import pytest

from serving.gateway.generation import end_where_taught


@pytest.mark.parametrize(
    ("body", "stops", "wanted"),
    [
        ({}, (7,), [7]),
        ({"stop_token_ids": None}, (7, 9), [7, 9]),
        ({"stop_token_ids": []}, (7,), [7]),
        ({"stop_token_ids": [3]}, (7,), [3, 7]),
        ({"stop_token_ids": [7, 3]}, (7,), [7, 3]),
        ({"stop_token_ids": [3]}, (), [3]),
        ({"stop_token_ids": [3], "ignore_eos": True}, (7,), [3]),
        ({"stop_token_ids": "seven"}, (7,), "seven"),
        ({"stop_token_ids": [[1], "x"]}, (7,), [[1], "x", 7]),
        ({}, (), None),
        ({"ignore_eos": True}, (7,), None),
        ({"stop": ["."]}, (7,), [7]),
    ],
)
def test_learnt_ends_come_to_the_callers_own(body: dict[str, Any], stops: tuple[int, ...], wanted: Any) -> None:
    before = {key: list(value) if isinstance(value, list) else value for key, value in body.items()}
    asked = end_where_taught(body, stops)
    assert asked.get("stop_token_ids") == wanted
    assert body == before, "the request itself is left as it is"
    assert asked.get("stop") == body.get("stop")
