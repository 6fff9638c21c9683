"""How long requests wait and how many are answered: stations in a row, open or with a fixed number of clients. Pure.

    Station("gateway", each_s=0.01)                            one process
    Station("engine", each_s=0.07, batch_s=0.5, servers=4)     four engines that compute in batches
    open_times(station, 20.0), closed([gateway, engine], clients=32, cores=2)

A station ends `rate(n)` requests a second while n are there. Arrivals and services are exponential: a birth-death chain
where clients come from outside (M/M/1 and M/M/c are special cases), and a closed product-form network solved by Buzen's
convolution (Communications of the ACM 16(9), 1973) where a fixed number asks again and again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

ROUNDS, SAME = 200, 1e-7
HUGE = 1e200


@dataclass(frozen=True)
class Station:
    """Where a request is worked on, by `servers` that are alike and share the work evenly."""

    name: str
    each_s: float
    """Seconds of one server for each request."""

    batch_s: float = 0.0
    """Seconds of one server that all requests of a batch share: alone a request takes `each_s + batch_s`."""

    servers: int = 1
    batch: int = 1
    """Most requests in a batch; more wait."""

    on_cores: bool = True
    """Whether its work is done by the processor, rather than by a device of its own."""

    def rate(self, number: int) -> float:
        """Requests a second while so many are there."""
        active = min(number, self.servers)
        together = min(number / active, self.batch)
        return active / (self.each_s + self.batch_s / together)

    @property
    def capacity(self) -> float:
        """Requests a second while more wait than fit."""
        return self.servers / (self.each_s + self.batch_s / self.batch)

    @property
    def full(self) -> int:
        """Requests from which on more do not make it faster."""
        return self.servers * self.batch


@dataclass(frozen=True)
class Times:
    """Of one station in the long run."""

    number: float
    """Requests that are there, in the mean."""

    seconds: float
    """From a request's arrival to its end, in the mean."""

    busy: float
    """Servers that work, in the mean."""


@dataclass(frozen=True)
class ClosedNetwork:
    """What a fixed number of clients gets, each of which asks again at once."""

    requests_per_s: float
    seconds: float
    """Of a request, in the mean."""

    busy: tuple[float, ...]
    """Servers of each station that work or wait for a core, in the mean."""

    slower: tuple[float, ...]
    """How many times as long the work of each station takes because it shares the cores."""


def open_times(station: Station, requests_per_s: float) -> Times:
    """Mean times where requests come at random. Raises ValueError where more come than the station can end."""
    if requests_per_s >= station.capacity:
        raise ValueError(f"{station.name} ends {station.capacity:g} requests a second")
    term = total = 1.0
    number = busy = 0.0
    for count in range(1, station.full + 1):
        term *= requests_per_s / station.rate(count)
        total, number = total + term, number + count * term
        busy += min(count, station.servers) * term
        if total > HUGE:
            term, total, number, busy = term / HUGE, total / HUGE, number / HUGE, busy / HUGE
    ratio = requests_per_s / station.capacity  # from here on each term is the last one times this
    tail = term * ratio / (1 - ratio)
    number += tail * (station.full + 1 / (1 - ratio))
    total, busy = total + tail, busy + station.servers * tail
    return Times(number / total, number / total / requests_per_s, busy / total)


def closed_times(
    stations: Sequence[Station], clients: int, cores: float = math.inf, delay_s: float = 0.0, elsewhere: float = 0.0
) -> ClosedNetwork:
    """So many clients, on stations that share `cores` of one machine where their work is done by the processor.

    Processes are slowed down by others that want a core at the same moment: how many do is taken as independent from
    process to process, and the two sides (how busy each is, how slow that makes them) are iterated until they agree.

    Args:
        cores: of the machine.
        delay_s: seconds of a request in which nothing of this works.
        elsewhere: cores that other programs keep busy. They get no more than their share where others want it too.
    """
    slower = [1.0] * len(stations)
    last = 0.0
    for _ in range(ROUNDS):
        slowed = [
            replace(one, each_s=one.each_s * factor, batch_s=one.batch_s * factor)
            for one, factor in zip(stations, slower, strict=True)
        ]
        rate, busy = _buzen(slowed, clients, delay_s)
        slowdowns = _slowdowns(stations, busy, clients, cores, elsewhere)
        slower = [(old + new) / 2 for old, new in zip(slower, slowdowns, strict=True)]
        if abs(rate - last) < SAME * rate:
            break
        last = rate
    return ClosedNetwork(rate, clients / rate, tuple(busy), tuple(slower))


def _buzen(stations: Sequence[Station], clients: int, delay_s: float) -> tuple[float, list[float]]:
    """Requests a second, and how many servers of each station work."""
    unit = sum(one.each_s + one.batch_s for one in stations) + delay_s
    weights = [_weights(one, clients, unit) for one in stations]
    delay = [1.0]
    for number in range(1, clients + 1):
        delay.append(delay[-1] * delay_s / unit / number)
    everything = delay
    for found in weights:
        everything = _convolved(everything, found)
    busy = []
    for index, one in enumerate(stations):
        others = delay
        for number, other in enumerate(weights):
            if number != index:
                others = _convolved(others, other)
        terms = (
            min(count, one.servers) * weights[index][count] * others[clients - count] for count in range(clients + 1)
        )
        busy.append(sum(terms) / everything[clients])
    return everything[clients - 1] / everything[clients] / unit, busy


def _weights(station: Station, clients: int, unit: float) -> list[float]:
    weights = [1.0]
    for number in range(1, clients + 1):
        weights.append(weights[-1] / (station.rate(number) * unit))
    return weights


def _convolved(left: list[float], right: list[float]) -> list[float]:
    return [sum(left[k] * right[n - k] for k in range(n + 1)) for n in range(len(left))]


def _slowdowns(
    stations: Sequence[Station], busy: Sequence[float], clients: int, cores: float, elsewhere: float
) -> list[float]:
    """Of a process of each station, while it works."""
    wanting = [min(1.0, number / one.servers) for one, number in zip(stations, busy, strict=True)]
    processes = [
        chance for one, chance in zip(stations, wanting, strict=True) if one.on_cores for _ in range(one.servers)
    ]
    programs = _counts([1.0] * int(elsewhere) + [elsewhere % 1])
    slowdowns = []
    for one, chance in zip(stations, wanting, strict=True):
        others = list(processes)
        if one.on_cores:
            others.remove(chance)
        slowdowns.append(_slowdown(_counts(others), programs, clients, cores) if one.on_cores else 1.0)
    return slowdowns


def _slowdown(others: Sequence[float], programs: Sequence[float], clients: int, cores: float) -> float:
    """Of one process, where so many others want a core with such probabilities: all get the same share."""
    return 1 / sum(
        mine * theirs * min(1.0, cores / (1 + min(number, clients - 1) + more))
        for number, mine in enumerate(others)
        for more, theirs in enumerate(programs)
    )


def _counts(chances: Sequence[float]) -> list[float]:
    """Probability of each number of independent events."""
    counts = [1.0]
    for chance in chances:
        counts = [
            (counts[n] * (1 - chance) if n < len(counts) else 0.0) + (counts[n - 1] * chance if n else 0.0)
            for n in range(len(counts) + 1)
        ]
    return counts
