"""The tables of docs/capacity.md are what the model and the committed results say."""

from dataclasses import replace

import pytest

from benchmarks.capacity_scale import DOCS, MODEL, WISH, put, simulated, tables, without_singles
from serving.capacity.plan import plan
from serving.capacity.unit_costs import shipped_costs


@pytest.mark.parametrize("name", ["costs", "small", "large", "singles", "step"])
def test_the_guide_has_the_tables(name: str) -> None:
    """Where this fails: python -m benchmarks.capacity_scale --write"""
    guide = DOCS.read_text()
    assert put(guide, name, tables(shipped_costs())[name]) == guide


def test_a_guide_without_the_place_is_said() -> None:
    with pytest.raises(ValueError, match="no place for costs"):
        put("nothing", "costs", "a table")


def test_paper_and_simulation_agree_where_the_queue_is_the_same() -> None:
    """A fiftieth of the load, so that it takes seconds; gateways are M/M/1 each, and Milvus' cores are M/M/c."""
    wish = replace(without_singles(WISH), requests_per_s=200.0, chunks=1_000_000, most_busy=0.6)
    for part, seen in simulated(plan(wish, shipped_costs(), MODEL), 30_000):
        if part.name in ("gateways", "milvus cores"):
            assert seen.seconds == pytest.approx(part.seconds, rel=0.1), part.name
            assert seen.busy == pytest.approx(part.busy, rel=0.1), part.name
        else:
            assert 0.8 * part.seconds < seen.seconds < 2 * part.seconds, part.name
