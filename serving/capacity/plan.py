"""From a wished load and unit costs to processes, engines and nodes: what is needed, what gives out first, how long.

    found = plan(Wish(requests_per_s=20, tokens_in=500, tokens_out=200), shipped(), "base-model")
    found.parts, found.first, found.seconds

Each part is a station with Poisson arrivals (serving/capacity/queueing.py). A part is given as many servers as keep
each of them busy for at most `most_busy` of the time; what cannot be multiplied (the limiter, Redis, Serve's
controller) is one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.store.index_parameters import index_memory
from serving.capacity.adapter_cache import hit_rate, zipf
from serving.capacity.queueing import Station, open_times
from serving.capacity.unit_costs import EngineCosts, UnitCosts
from serving.capacity.workload import Workload

SEGMENT_GIB = 1.0
"""Most that Milvus puts into one sealed segment (dataCoord.segment.maxSize, 1024 MB); a search looks into each."""
MEMORY_USED = 0.7
"""Share of a query node's memory that vectors may take; the rest is for the node itself and for loading."""


@dataclass(frozen=True)
class PlannedPart:
    """One kind of process."""

    name: str
    station: Station
    requests_per_s: float
    seconds: float
    """Of a request in it, waiting included, in the mean; infinite where more come than it ends."""
    is_single: bool
    """Whether there can be only one."""
    arithmetic: tuple[str, ...]
    source: str
    """Where its cost comes from."""

    @property
    def busy(self) -> float:
        return self.requests_per_s / self.station.capacity

    @property
    def fits(self) -> bool:
        return self.busy < 1


@dataclass(frozen=True)
class Nodes:
    """Machines of one kind."""

    kind: str
    number: int
    arithmetic: str


@dataclass(frozen=True)
class CapacityPlan:
    """What a load takes."""

    wish: Workload
    engine: EngineCosts
    parts: tuple[PlannedPart, ...]
    nodes: tuple[Nodes, ...]
    hits: float | None
    """Share of the requests whose adapter is loaded."""
    first_token_s: float
    """Mean seconds to the first token."""

    @property
    def first(self) -> PlannedPart:
        """The part that gives out first when the load grows."""
        return max(self.parts, key=lambda part: part.busy)

    @property
    def most_requests_per_s(self) -> float:
        """The load at which it does."""
        return self.wish.requests_per_s / self.first.busy

    @property
    def seconds(self) -> float:
        """Mean seconds of an answer: all parts that a request passes, but for those that are too small."""
        return sum(part.seconds for part in self.parts if part.name != "controller" and part.fits)

    @property
    def too_small(self) -> tuple[PlannedPart, ...]:
        return tuple(part for part in self.parts if not part.fits)


def plan(wish: Workload, costs: UnitCosts, model: str) -> CapacityPlan:
    """Raises TandemError where the model was not measured."""
    engine = costs.engine(model)
    hits = hit_rate(zipf(wish.adapters, wish.zipf), wish.loaded_adapters) if wish.adapters else None
    parts = [_gateways(wish, costs)]
    if wish.keys:
        parts.append(_counting(wish, costs))
    if wish.chunks:
        parts += [_retrievers(wish, costs), _searches(wish, costs)]
    engines = _engines(wish, costs, engine, hits)
    parts.append(engines)
    parts.append(_controller(wish, costs, parts))
    upstream = sum(part.seconds for part in parts if part.name not in ("engines", "controller") and part.fits)
    nodes = tuple(_nodes(wish, engine, {part.name: part.station.servers for part in parts}))
    return CapacityPlan(wish, engine, tuple(parts), nodes, hits, upstream + _first_token(wish, engine, engines))


def segments(wish: Workload) -> int:
    """Parts that Milvus keeps the vectors in, each with an index of its own."""
    return max(1, math.ceil(wish.chunks * wish.dimensions * 4 / (SEGMENT_GIB * 2**30)))


def _gateways(wish: Workload, costs: UnitCosts) -> PlannedPart:
    """Each is a process with one thread, and connections are spread over them at random: M/M/1 for each."""
    fixed, token, passages = (costs[name] for name in ("gateway_s", "gateway_token_s", "gateway_retrieval_s"))
    each_s, reason = fixed.value + wish.tokens_out * token.value, _ms(fixed.value)
    if wish.chunks:
        each_s, reason = each_s + passages.value, f"{reason} + {_ms(passages.value)} with passages"
    line = f"{reason} + {wish.tokens_out} tokens x {_ms(token.value)} = {_ms(each_s)} of a core"
    return _multiplied("gateways", each_s, wish, fixed.source, line, is_split=True)


def _counting(wish: Workload, costs: UnitCosts) -> PlannedPart:
    name = "redis" if wish.redis else "limiter"
    cost = costs[f"{name}_s"]
    reason = "Redis, one" if wish.redis else "one process counts the use of keys"
    return _single(name, cost.value, wish.requests_per_s, cost.source, f"{reason}: {_ms(cost.value)} a request")


def _retrievers(wish: Workload, costs: UnitCosts) -> PlannedPart:
    cost = costs["retriever_s"]
    return _multiplied("retrievers", cost.value, wish, cost.source, f"{_ms(cost.value)} of a core a question")


def _searches(wish: Workload, costs: UnitCosts) -> PlannedPart:
    """A server is a core of a query node; every search takes some time of it for each segment."""
    cost, number = costs["search_s"], segments(wish)
    each_s = number * cost.value
    size = f"{wish.chunks:,} x {wish.dimensions} x 4 bytes = {number} segments of at most {SEGMENT_GIB:g} GiB"
    line = f"{number} x {_ms(cost.value)} = {_ms(each_s)} of a core"
    return _multiplied("milvus cores", each_s, wish, cost.source, size, line)


def _engines(wish: Workload, costs: UnitCosts, engine: EngineCosts, hits: float | None) -> PlannedPart:
    each_s, shared_s = engine.each_s(wish.tokens_in, wish.tokens_out), engine.batch_s(wish.tokens_out)
    batch = min(wish.batch, engine.batch)
    lines = [
        f"each: {wish.tokens_in} x {_ms(engine.prefill_s)} + {wish.tokens_out} x {_ms(engine.step_each_s)} = "
        f"{_ms(each_s)}; a batch: {wish.tokens_out} x {_ms(engine.step_s)} = {_ms(shared_s)}",
    ]
    if hits is not None:
        cost = costs["adapter_load_s"]
        each_s += (1 - hits) * cost.value
        lines.append(
            f"adapters: {wish.loaded_adapters} of {wish.adapters} loaded, {hits:.0%} of requests find theirs; "
            f"{1 - hits:.0%} x {_ms(cost.value)} = {_ms((1 - hits) * cost.value)} more"
        )
    lines.append(f"{batch} in a batch: {_ms(each_s)} + {_ms(shared_s)} / {batch} = {_ms(each_s + shared_s / batch)}")
    return _multiplied("engines", each_s, wish, engine.source, *lines, shared_s=shared_s, batch=batch)


def _controller(wish: Workload, costs: UnitCosts, parts: list[PlannedPart]) -> PlannedPart:
    """Not in a request's way: it looks after replicas, so its load is theirs."""
    cost = costs["controller_s"]
    replicas = sum(part.station.servers for part in parts if part.name in ("gateways", "retrievers", "engines"))
    busy = cost.value * replicas
    return _single(
        "controller", busy / wish.requests_per_s, wish.requests_per_s, cost.source,
        f"{replicas:,} replicas x {_ms(cost.value)} each second = {busy:.1%} of a core",
    )  # fmt: skip


def _multiplied(
    name: str,
    each_s: float,
    wish: Workload,
    source: str,
    *arithmetic: str,
    shared_s: float = 0.0,
    batch: int = 1,
    is_split: bool = False,
) -> PlannedPart:
    load = wish.requests_per_s
    one = Station(name, each_s, shared_s, batch=batch)
    number = max(1, math.ceil(load / (one.capacity * wish.most_busy) - 1e-9))
    station = Station(name, each_s, shared_s, number, batch)
    seconds = open_times(one, load / number).seconds if is_split else open_times(station, load).seconds
    line = f"{load:,g}/s / ({one.capacity:.4g}/s each x {wish.most_busy:g}) = {number:,}"
    return PlannedPart(name, station, load, seconds, False, (*arithmetic, line), source)


def _single(name: str, each_s: float, load: float, source: str, *arithmetic: str) -> PlannedPart:
    station = Station(name, each_s)
    seconds = open_times(station, load).seconds if load < station.capacity else math.inf
    return PlannedPart(
        name, station, load, seconds, True, (*arithmetic, f"at most {station.capacity:,.0f} requests/s"), source
    )


def _first_token(wish: Workload, engine: EngineCosts, engines: PlannedPart) -> float:
    """Prompts are computed one after the other, between the steps of what is being answered; then one step more."""
    prompt_s = wish.tokens_in * engine.prefill_s
    each = wish.requests_per_s / engines.station.servers
    batch = max(1.0, each * engines.seconds)
    return prompt_s / (1 - each * prompt_s) + engine.step_s + batch * engine.step_each_s


def _nodes(wish: Workload, engine: EngineCosts, servers: dict[str, int]) -> Iterator[Nodes]:
    cores = servers["gateways"] + servers.get("retrievers", 0) + 2
    reason = f"{servers['gateways']} gateways + {servers.get('retrievers', 0)} retrievers + 2 for the rest"
    if engine.gpus:
        number = math.ceil(servers["engines"] * engine.gpus / wish.node_gpus)
        yield Nodes("GPU", number, f"{servers['engines']} engines x {engine.gpus} GPUs / {wish.node_gpus} a node")
    else:
        cores += servers["engines"] * engine.cores
        reason += f" + {servers['engines']} engines x {engine.cores} cores"
    yield Nodes("CPU", math.ceil(cores / wish.node_cores), f"({reason}) / {wish.node_cores} cores a node")
    if wish.chunks:
        yield _query_nodes(wish, servers["milvus cores"])


def _query_nodes(wish: Workload, cores: int) -> Nodes:
    """Every replica holds all vectors, so that there are at least as many nodes as hold one, times the replicas."""
    kind, memory = index_memory(wish.milvus, wish.chunks, wish.dimensions)
    each = math.ceil(memory / (wish.node_gib * MEMORY_USED))
    number = max(each * wish.milvus_replicas, math.ceil(cores / wish.node_cores))
    return Nodes(
        "Milvus query", number,
        f"{kind} {memory:,.4g} GiB / ({wish.node_gib:g} GiB x {MEMORY_USED:g}) = {each}, x {wish.milvus_replicas} "
        f"replicas; {cores} cores / {wish.node_cores}; the larger",
    )  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
