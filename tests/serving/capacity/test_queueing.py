"""The formulas beside answers that are known in closed form."""

import math

import pytest

from serving.capacity.queueing import Station, closed_times, open_times


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 0.99])
def test_one_server_is_mm1(load: float) -> None:
    found = open_times(Station("one", each_s=0.5), load / 0.5)
    assert found.seconds == pytest.approx(0.5 / (1 - load))
    assert found.busy == pytest.approx(load)


@pytest.mark.parametrize(("servers", "load"), [(2, 0.5), (5, 0.8), (40, 0.95), (900, 0.99)])
def test_several_servers_are_mmc_by_erlangs_formula(servers: int, load: float) -> None:
    offered = servers * load
    terms = [offered**n / math.factorial(n) if n < 100 else 0.0 for n in range(servers)]
    found = open_times(Station("many", each_s=2.0, servers=servers), offered / 2.0)
    assert found.busy == pytest.approx(offered)
    if servers < 100:
        last = offered**servers / math.factorial(servers) / (1 - load)
        waits = last / (sum(terms) + last)
        assert found.seconds == pytest.approx(2.0 + waits * 2.0 / (servers - offered))


def test_a_batch_makes_room_and_costs_time() -> None:
    engine = Station("engine", each_s=0.1, batch_s=0.9, batch=9)
    assert engine.rate(1) == pytest.approx(1.0)
    assert engine.rate(9) == engine.rate(100) == engine.capacity == pytest.approx(5.0)
    assert open_times(engine, 0.01).seconds == pytest.approx(1.0, rel=0.02)
    assert open_times(engine, 4.5).seconds > 9 / 5.0


def test_more_than_a_station_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="gateway ends 2 requests a second"):
        open_times(Station("gateway", 0.5), 2.0)


def test_a_closed_network_of_two_alike_stations() -> None:
    """Mean value analysis by hand: with n clients at two stations of demand D each, X = n / (D (n + 1))."""
    stations = [Station("a", 0.2), Station("b", 0.2)]
    for clients in (1, 2, 10, 300):
        found = closed_times(stations, clients)
        assert found.requests_per_s == pytest.approx(clients / (0.2 * (clients + 1)))
        assert found.seconds == pytest.approx(0.2 * (clients + 1))


def test_a_delay_is_a_place_without_a_queue() -> None:
    assert closed_times([Station("a", 0.5)], 1, delay_s=1.5).requests_per_s == pytest.approx(0.5)
    assert closed_times([Station("a", 0.5)], 500, delay_s=1.5).requests_per_s == pytest.approx(2.0)


def test_twice_the_engines_are_twice_as_fast_on_devices_of_their_own() -> None:
    rates = [
        closed_times([Station("gateway", 0.001), Station("e", 0.1, servers=n, on_cores=False)], 32, 2).requests_per_s
        for n in (1, 2)
    ]
    assert rates[1] / rates[0] == pytest.approx(2.0, rel=0.02)


def test_shared_cores_bound_what_processes_do_together() -> None:
    """Three processes that would each take a core, on two cores."""
    stations = [Station(name, 0.1) for name in "abc"]
    found = closed_times(stations, 64, cores=2)
    assert found.requests_per_s * 0.3 <= 2
    assert found.requests_per_s == pytest.approx(2 / 0.3, rel=0.05)
    assert closed_times(stations, 64, cores=4).requests_per_s == pytest.approx(
        closed_times(stations, 64).requests_per_s, rel=0.01
    )


def test_one_client_never_shares_a_core_with_itself() -> None:
    stations = [Station(name, 0.1) for name in "abc"]
    assert closed_times(stations, 1, cores=1).requests_per_s == pytest.approx(1 / 0.3)


def test_other_programs_get_their_share_and_no_more() -> None:
    """One process of ours and one of theirs for each core: nothing is slowed down. With three of theirs on two cores
    each of the four gets a half."""
    one = [Station("a", 0.1)]
    assert closed_times(one, 8, cores=2, elsewhere=1.0).requests_per_s == pytest.approx(10.0)
    assert closed_times(one, 8, cores=2, elsewhere=3.0).requests_per_s == pytest.approx(5.0)
