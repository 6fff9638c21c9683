"""A small discrete-event simulation of requests that pass stations in a row, for what formulas only approximate.

    simulate([Place(Station("gateway", 0.01, servers=4), "random")], requests_per_s=300, num_requests=100_000)

Arrivals are Poisson, services exponential. A place is one queue for all its servers, or a queue for each,
chosen at random as the kernel does with connections, or the shorter of two chosen at random as Ray Serve does. The seed
fixes everything.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from serving.capacity.queueing import Station

Choice = Literal["shared", "random", "shorter of two"]
WARM = 0.2
"""Share of the requests that come first and are not counted."""


@dataclass(frozen=True)
class Place:
    """A station, and how a request finds its server."""

    station: Station
    choice: Choice = "shared"


@dataclass(frozen=True)
class Seen:
    """Of one place."""

    seconds: float
    """From a request's arrival to its end, in the mean."""
    busy: float
    """Share of the time for which its servers work, while requests still come."""


@dataclass
class _Queue:
    """One queue and its servers, of which only the next end is on the calendar: without memory, it is drawn anew."""

    station: Station
    present: deque[int] = field(default_factory=deque)
    number: int = 0
    """Of the draw that counts; earlier ones on the calendar are void."""
    worked: float = 0.0
    since: float = 0.0

    def passed(self, now: float) -> None:
        """Counts the work since the last change."""
        self.worked += min(len(self.present), self.station.servers) * (now - self.since)
        self.since = now


def simulate(places: Sequence[Place], requests_per_s: float, num_requests: int, seed: int = 0) -> list[Seen]:
    """What each place sees of so many requests."""
    return _Simulation(places, requests_per_s, num_requests, seed).run()


class _Simulation:
    def __init__(self, places: Sequence[Place], requests_per_s: float, num_requests: int, seed: int) -> None:
        self._places, self._rate, self._most, self._rng = places, requests_per_s, num_requests, Random(seed)
        self._queues = [list(_queues(place)) for place in places]
        self._calendar: list[tuple[float, int, int, int, int]] = []
        self._order = itertools.count()
        self._came: dict[int, float] = {}
        self._seconds = [0.0] * len(places)
        self._counted = [0] * len(places)

    def run(self) -> list[Seen]:
        now = began = 0.0
        busy: list[float] = []
        arrivals = itertools.accumulate(itertools.repeat(1), lambda at, _: at + self._rng.expovariate(self._rate))
        next_arrival, number = next(arrivals), 0
        while number < self._most or self._calendar:
            if number < self._most and (not self._calendar or next_arrival < self._calendar[0][0]):
                now = next_arrival
                if number == int(WARM * self._most):
                    began = now
                    self._work(now, begin=True)
                if number == self._most - 1:
                    busy = [worked / (now - began) for worked in self._work(now)]
                self._arrive(0, number, now)
                next_arrival, number = next(arrivals), number + 1
                continue
            now, _, place, which, draw = heapq.heappop(self._calendar)
            if draw == self._queues[place][which].number:
                self._end(place, which, now)
        return [
            Seen(seconds / counted, share)
            for seconds, counted, share in zip(self._seconds, self._counted, busy, strict=True)
        ]

    def _work(self, now: float, begin: bool = False) -> list[float]:
        """Seconds that a server of each place has worked since `begin`, in the mean."""
        found = []
        for queues in self._queues:
            for queue in queues:
                queue.passed(now)
            found.append(sum(queue.worked for queue in queues) / sum(queue.station.servers for queue in queues))
            for queue in queues:
                queue.worked = 0.0 if begin else queue.worked
        return found

    def _arrive(self, place: int, request: int, now: float) -> None:
        queues = self._queues[place]
        which = 0 if len(queues) == 1 else self._chosen(self._places[place].choice, queues)
        queues[which].passed(now)
        queues[which].present.append(request)
        self._came[request] = now
        self._draw(place, which, now)

    def _chosen(self, choice: Choice, queues: list[_Queue]) -> int:
        first = self._rng.randrange(len(queues))
        if choice == "random":
            return first
        second = self._rng.randrange(len(queues))
        return first if len(queues[first].present) <= len(queues[second].present) else second

    def _end(self, place: int, which: int, now: float) -> None:
        """One of those that are worked on, each as likely, goes on to the next place."""
        queue = self._queues[place][which]
        queue.passed(now)
        active = min(len(queue.present), queue.station.full)
        index = self._rng.randrange(active)
        request = queue.present[index]
        del queue.present[index]
        if request >= WARM * self._most:
            self._seconds[place] += now - self._came[request]
            self._counted[place] += 1
        if queue.present:
            self._draw(place, which, now)
        if place + 1 < len(self._places):
            self._arrive(place + 1, request, now)
        else:
            del self._came[request]

    def _draw(self, place: int, which: int, now: float) -> None:
        queue = self._queues[place][which]
        queue.number = next(self._order)
        ends = now + self._rng.expovariate(queue.station.rate(len(queue.present)))
        heapq.heappush(self._calendar, (ends, queue.number, place, which, queue.number))


def _queues(place: Place) -> "list[_Queue]":
    station = place.station
    if place.choice == "shared":
        return [_Queue(station)]
    one = Station(station.name, station.each_s, station.batch_s, batch=station.batch)
    return [_Queue(one) for _ in range(station.servers)]
