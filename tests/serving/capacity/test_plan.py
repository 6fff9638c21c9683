"""A plan holds what it is asked for, in numbers that can be checked by hand."""

import math
from typing import Any

import pytest

from cluster.errors import TandemError
from serving.capacity.plan import CapacityPlan, plan, segments
from serving.capacity.unit_costs import EngineCosts, UnitCost, UnitCosts
from serving.capacity.workload import MAX_VALUES, Workload, peak

ENGINE = EngineCosts("m", prefill_s=1e-4, step_s=0.01, step_each_s=1e-4, batch=32, gpus=1, cores=2, source="by hand")
COSTS = UnitCosts(
    {
        name: UnitCost(value, "by hand")
        for name, value in {
            "gateway_s": 0.004, "gateway_token_s": 0.0001, "gateway_retrieval_s": 0.0,
            "limiter_s": 0.001, "redis_s": 0.0001, "retriever_s": 0.02,
            "search_s": 0.005, "adapter_load_s": 0.1, "controller_s": 0.001,
        }.items()
    },
    {"m": ENGINE},
)  # fmt: skip


def planned(requests_per_s: float = 50.0, **changed: Any) -> CapacityPlan:
    return plan(
        Workload(**{"requests_per_s": requests_per_s, "tokens_in": 1000, "tokens_out": 100} | changed), COSTS, "m"
    )


def number(found: CapacityPlan, name: str) -> int:
    return next(part.station.servers for part in found.parts if part.name == name)


def test_a_plan_by_hand() -> None:
    """An engine: 1000 x 0.1 ms + 100 x 0.1 ms = 110 ms and 1 s / 32, so 7.08/s; a gateway: 14 ms, so 71.4/s."""
    found = planned()
    assert number(found, "engines") == math.ceil(50 / (0.7 / (0.11 + 1 / 32)))
    assert number(found, "gateways") == 1 + (50 * 0.014 > 0.7 + 1e-9)
    assert [node.number for node in found.nodes if node.kind == "GPU"] == [2]
    assert found.seconds > 1.11
    assert 0.11 < found.first_token_s < found.seconds


def test_nothing_is_busier_than_asked_for() -> None:
    found = planned(333.0, chunks=2_000_000, adapters=50, most_busy=0.6)
    assert all(part.busy <= 0.6 + 1e-9 for part in found.parts if not part.is_single)
    assert found.most_requests_per_s == pytest.approx(333 / found.first.busy)


def test_more_load_never_takes_less() -> None:
    before: dict[str, int] = {}
    for load in (1, 10, 100, 1000):
        found = planned(load, chunks=1_000_000)
        now = {part.name: part.station.servers for part in found.parts}
        assert all(now[name] >= count for name, count in before.items())
        before = now


def test_what_can_be_one_only_gives_out_first() -> None:
    found = planned(2000.0)
    assert found.first.name == "limiter"
    assert found.too_small == (found.first,)
    assert found.most_requests_per_s == pytest.approx(1000)
    assert math.isfinite(found.seconds)
    assert planned(2000.0, redis=True).too_small == ()


def test_segments_and_memory_of_a_hundred_million_chunks() -> None:
    wish = Workload(1.0, 100, 100, chunks=100_000_000, milvus_replicas=2, node_gib=64)
    assert segments(wish) == math.ceil(100e6 * 384 * 4 / 2**30) == 144
    query = plan(wish, COSTS, "m").nodes[-1]
    assert (query.kind, query.number) == ("Milvus query", 2 * math.ceil(100e6 * (4 * 384 + 160) / 2**30 / (64 * 0.7)))


def test_adapters_that_are_not_loaded_take_engines() -> None:
    few, many = planned(adapters=16), planned(adapters=1000)
    assert few.hits == 1.0
    assert many.hits is not None and 0.2 < many.hits < 0.4
    assert number(many, "engines") > number(few, "engines")


def test_no_more_in_a_batch_than_was_measured() -> None:
    assert planned(batch=512).parts == planned(batch=32).parts
    assert number(planned(batch=1), "engines") > number(planned(batch=32), "engines")


def test_a_model_that_was_not_measured_is_refused() -> None:
    with pytest.raises(TandemError, match="no figure is guessed") as raised:
        plan(Workload(1, 1, 1), COSTS, "Qwen/Qwen3-0.6B")
    assert "--measure" in raised.value.remedy


@pytest.mark.parametrize("name", MAX_VALUES)
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    for value in (-1, math.nan, math.inf, 1e12):
        with pytest.raises(TandemError, match=name.replace("_", " ")):
            Workload(**{"requests_per_s": 1.0, "tokens_in": 1, "tokens_out": 1} | {name: value})


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_a_share_that_leaves_no_room_is_refused(share: float) -> None:
    with pytest.raises(TandemError, match="are to be busy"):
        Workload(1.0, 1, 1, most_busy=share)


def test_the_peak_of_a_day() -> None:
    assert peak(None, 86_400, 3.0) == pytest.approx(3.0)
    assert peak(7.0, None, 3.0) == 7.0
    for given in ((None, None, 3.0), (1.0, 1.0, 3.0), (None, 100.0, 0.5), (None, 100.0, math.nan)):
        with pytest.raises(TandemError):
            peak(*given)
