"""Which stop tokens a request gets that asks for an adapter."""

from pathlib import Path
from typing import Any

import pytest

from cluster.registry.registry import Registry
from serving.gateway.generation import end_where_taught
from tests.serving.gateway.test_gateway import Handle, answered, asked


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


def test_the_version_that_answers_says_where_its_answers_end(tmp_path: Path) -> None:
    registry, files = Registry(tmp_path / "adapters"), tmp_path / "files"
    files.mkdir()
    fields: dict[str, Any] = {
        "base_model": "m", "base_digest": "d", "method": "lora", "rank": 8, "template_hash": "t", "prompt_hash": None,
        "data_digest": "d", "fingerprint": "f", "metrics": {},
    }  # fmt: skip
    for stops in ((7,), (), (9,)):
        registry.publish("support", files, stop_token_ids=stops, **fields)

    def reaches_the_engine(model: str, **more: Any) -> Any:
        engine = Handle(answer=answered, template_hash=lambda: "t")
        asked(engine, model=model, more=more, adapters=registry.root)
        return engine.asked[-1][1].get("stop_token_ids")

    assert reaches_the_engine("base:support") == [9]
    assert reaches_the_engine("base:support", n=3, stop=["."]) == [9]
    assert reaches_the_engine("base:support@1", stop_token_ids=[3]) == [3, 7]
    assert reaches_the_engine("base:support@2") is None, "a version without the record"
    registry.promote("support", 1)
    assert reaches_the_engine("base:support") == [7]
    assert reaches_the_engine("base:support", ignore_eos=True) is None
    assert reaches_the_engine("base") is None
