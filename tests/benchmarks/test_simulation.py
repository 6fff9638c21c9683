"""The simulation beside known answers, and the plan's formulas beside the simulation."""

import pytest

from benchmarks.simulation import Place, simulate
from serving.capacity.queueing import Station, open_times


@pytest.mark.parametrize("load", [0.3, 0.7, 0.85])
def test_one_server_is_mm1(load: float) -> None:
    (seen,) = simulate([Place(Station("one", 0.1))], load / 0.1, 60_000)
    assert seen.seconds == pytest.approx(0.1 / (1 - load), rel=0.05)
    assert seen.busy == pytest.approx(load, rel=0.03)


@pytest.mark.parametrize(("servers", "load"), [(3, 0.8), (20, 0.9)])
def test_one_queue_for_several_servers_is_mmc(servers: int, load: float) -> None:
    station = Station("many", 0.1, servers=servers)
    (seen,) = simulate([Place(station)], load * servers / 0.1, 60_000)
    assert seen.seconds == pytest.approx(open_times(station, load * servers / 0.1).seconds, rel=0.05)


def test_servers_chosen_at_random_are_each_mm1() -> None:
    (seen,) = simulate([Place(Station("split", 0.1, servers=10), "random")], 70.0, 60_000)
    assert seen.seconds == pytest.approx(0.1 / 0.3, rel=0.05)


def test_the_shorter_of_two_lies_between() -> None:
    station = Station("two", 0.1, servers=10)
    (seen,) = simulate([Place(station, "shorter of two")], 70.0, 60_000)
    assert open_times(station, 70.0).seconds < seen.seconds < 0.1 / 0.3


def test_a_batch_is_the_chain_of_the_formula() -> None:
    station = Station("engine", 0.02, 0.2, batch=8)
    (seen,) = simulate([Place(station)], 15.0, 60_000)
    assert seen.seconds == pytest.approx(open_times(station, 15.0).seconds, rel=0.05)


def test_places_in_a_row_are_independent() -> None:
    """Jackson: each is as if it were alone."""
    stations = [Station("a", 0.05), Station("b", 0.3, servers=5)]
    seen = simulate([Place(one) for one in stations], 12.0, 60_000)
    for one, station in zip(seen, stations, strict=True):
        assert one.seconds == pytest.approx(open_times(station, 12.0).seconds, rel=0.06)


def test_a_seed_fixes_everything() -> None:
    place = Place(Station("split", 0.1, servers=10), "shorter of two")
    assert simulate([place], 50.0, 2_000, seed=3) == simulate([place], 50.0, 2_000, seed=3)
    assert simulate([place], 50.0, 2_000, seed=3) != simulate([place], 50.0, 2_000, seed=4)
