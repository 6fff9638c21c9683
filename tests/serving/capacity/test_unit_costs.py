"""Costs from loads, and files of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from serving.capacity.queueing import Station
from serving.capacity.unit_costs import NAMES, Level, costs_to_json, engine_costs, fit_batch, read_costs, shipped_costs

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def test_an_engine_is_found_again_from_the_loads_that_it_gives() -> None:
    """128 tokens in at 0.2 ms, 64 out in steps of 8 ms and 0.4 ms for each request in it; two engines."""
    each, shared = 128 * 2e-4 + 64 * 4e-4, 64 * 8e-3
    long = Station("engine", each, shared, servers=2, batch=64)
    short = Station("engine", 128 * 2e-4 + 4e-4, 8e-3, servers=2, batch=64)
    levels = [Level(clients, long.rate(clients)) for clients in (2, 8, 32)]
    found = engine_costs("base", levels, Level(32, short.rate(32)), 128, 64, 2, 0, 2, "here")
    assert found.prefill_s == pytest.approx(2e-4, rel=1e-6)
    assert found.step_s == pytest.approx(8e-3, rel=1e-6)
    assert found.step_each_s == pytest.approx(4e-4, rel=1e-6)
    assert found.batch == 16


def test_a_fit_never_gives_a_negative_cost() -> None:
    assert fit_batch([(1, 1.0), (4, 1.2)])[1] == 0.0
    assert fit_batch([(1, 1.0), (4, 0.1)])[0] == 0.0


def test_one_number_of_clients_is_not_enough() -> None:
    with pytest.raises(TandemError, match="one number of clients"):
        engine_costs("base", [Level(4, 1.0)], Level(4, 2.0), 128, 64, 1, 0, 2, "here")


def test_what_is_shipped_was_measured() -> None:
    """Each figure stands in a committed result."""
    found = shipped_costs()
    assert set(found.costs) == set(NAMES)
    rows = {
        row["metric"]: row["ours"]
        for path in RESULTS.glob("capacity-costs-*.json")
        for row in json.loads(path.read_text())["rows"]
    }
    for name, cost in found.costs.items():
        assert cost.value == rows[name], name
    (engine,) = found.engines.values()
    for name in ("prefill_s", "step_s", "step_each_s", "batch", "cores"):
        assert getattr(engine, name) == rows[f"engine_{name}: quickstart"], name
    assert engine.gpus == 0


def test_costs_are_the_same_when_read_again(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(costs_to_json(shipped_costs())))
    assert read_costs(path) == shipped_costs()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"costs": {}}',
        '{"costs": {"gateway_s": {"value": -1, "source": ""}}, "engines": {}}',
        '{"costs": {"gateway_s": {"value": NaN, "source": ""}}, "engines": {}}',
        '{"costs": {"gateway_s": {"value": "1", "source": ""}}, "engines": {}}',
        '{"costs": {"gatewy_s": {"value": 1, "source": ""}}, "engines": {}}',
        '{"costs": {}, "engines": {"m": {"model": "m"}}}',
    ],
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(content)
    with pytest.raises(TandemError, match="holds no unit costs"):
        read_costs(path)


@pytest.mark.parametrize("changed", [{"step_s": -1.0}, {"batch": 0}, {"prefill_s": 0, "step_s": 0, "step_each_s": 0}])
def test_an_engine_that_cannot_be_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    value = costs_to_json(shipped_costs())
    value["engines"]["quickstart"] |= changed
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(value))
    with pytest.raises(TandemError, match="holds no unit costs"):
        read_costs(path)
