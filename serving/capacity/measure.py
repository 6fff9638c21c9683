"""The unit costs of a running endpoint: of its engine, and of its other processes on this machine.

    before = processor_seconds(8000); ...; after = processor_seconds(8000)

Processor time is read from /proc: the gateway is the process that listens on the port, its parent is Ray's raylet, and
the node's other processes are below that.
"""

import asyncio
import os
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx

from cluster.errors import TandemError
from serving.capacity.load import Clients, Load
from serving.capacity.unit_costs import Level, UnitCost, UnitCosts, engine_costs

CLIENTS = (1, 4, 16)
WARM_S, IDLE_S = 2.0, 3.0
ANSWER_S = 120.0
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0")


@dataclass(frozen=True)
class MeasuredEndpoint:
    """What is measured."""

    url: str
    """With /v1."""
    model: str
    """The name that requests give, such as `base` or `base+handbook`."""
    key: str | None
    tokens_in: int
    """Of the prompts as the engine gets them: with a collection its passages are among them."""
    tokens_out: int
    engines: int
    gpus: int
    cores: int
    words: int = 1
    """Random words of a question that come to so many tokens in."""


@dataclass(frozen=True)
class _Measured:
    load: Load
    cpu_s: dict[str, float]
    """Processor time of each kind of process, for each request, less what it takes while nobody asks."""

    def level(self, clients: int) -> Level:
        return Level(clients, self.load.requests_per_s)


def measure_costs(
    endpoint: MeasuredEndpoint, project_model: str, source: str, seconds: float, on_progress: Callable[[str], None]
) -> UnitCosts:
    """Load it with several numbers of clients, `seconds` each. Everything else on it is measured too: let it be idle.

    Raises:
        TandemError: it does not answer, or refuses.
    """
    endpoint = _sized(endpoint)
    _load(endpoint, 2, endpoint.tokens_out, WARM_S, {})
    idle, levels = _idle(endpoint.url), []
    for clients in CLIENTS:
        on_progress(f"{clients} clients, {seconds:g} s")
        levels.append(_load(endpoint, clients, endpoint.tokens_out, seconds, idle))
    short = _load(endpoint, CLIENTS[-1], 1, seconds, idle)
    engine = engine_costs(
        endpoint.model, [one.level(clients) for one, clients in zip(levels, CLIENTS, strict=True)],
        short.level(CLIENTS[-1]), endpoint.tokens_in, endpoint.tokens_out, endpoint.engines, endpoint.gpus,
        endpoint.cores, source,
    )  # fmt: skip
    return UnitCosts(_processes(endpoint, levels[-1], short, source), {project_model: engine})


def _processes(endpoint: MeasuredEndpoint, long: _Measured, short: _Measured, source: str) -> dict[str, UnitCost]:
    """Of what runs on this machine: a line through answers of one token and of many."""
    unit_costs: dict[str, UnitCost] = {}
    if "gateway" in long.cpu_s:
        token = max(0.0, long.cpu_s["gateway"] - short.cpu_s["gateway"]) / max(1, endpoint.tokens_out - 1)
        unit_costs["gateway_token_s"] = UnitCost(token, source)
        unit_costs["gateway_s"] = UnitCost(max(0.0, long.cpu_s["gateway"] - endpoint.tokens_out * token), source)
    if "gateway" in long.cpu_s and "+" in endpoint.model:
        unit_costs["gateway_retrieval_s"] = UnitCost(0.0, f"{source}, in gateway_s")
        unit_costs["retriever_s"] = UnitCost(long.cpu_s.get("retriever", 0.0), source)
    return unit_costs


def _idle(url: str) -> dict[str, float]:
    """Cores that each kind of process takes while nobody asks."""
    before = _processor(url)
    time.sleep(IDLE_S if before else 0)
    after = _processor(url)
    return {role: (after[role] - before[role]) / IDLE_S for role in before if role in after}


def _load(
    endpoint: MeasuredEndpoint, clients: int, num_tokens: int, seconds: float, idle: dict[str, float]
) -> _Measured:
    settings = {"url": endpoint.url, "model": endpoint.model, "key": endpoint.key, "concurrency": clients,
             "num_tokens": num_tokens}  # fmt: skip
    before = _processor(endpoint.url)
    try:
        load = asyncio.run(Clients(settings, _prompts(endpoint.words, seconds)).run())
    except aiohttp.ClientError as error:
        raise _refused(endpoint, f"the connection broke ({error})") from error
    if load.refused_s:
        raise _refused(endpoint, f"{len(load.refused_s)} requests were refused (429)")
    if load.failed or not load.answer_s:
        raise _refused(endpoint, ", ".join(sorted(set(load.failed))) or "no answer came in time")
    after, number = _processor(endpoint.url), len(load.answer_s)
    used = {role: after[role] - before[role] - idle.get(role, 0.0) * load.seconds for role in before if role in after}
    return _Measured(load, {role: max(0.0, seconds) / number for role, seconds in used.items()})


def _prompts(words: int, seconds: float) -> Iterator[str]:
    """Questions until the time is over, none like another, so that no cache of prefixes helps."""
    rng, ends = random.Random(0), time.monotonic() + seconds
    while time.monotonic() < ends:
        yield _question(rng, words)


def _question(rng: random.Random, words: int) -> str:
    return " ".join("".join(rng.choices("aeioulnrst", k=4)) for _ in range(words))


def _sized(endpoint: MeasuredEndpoint) -> MeasuredEndpoint:
    """With the number of words that comes closest to the wished tokens, and the tokens that they really come to."""
    few, many = 4, 24
    base, more = _tokens(endpoint, few), _tokens(endpoint, many)
    words = max(1, round(few + (endpoint.tokens_in - base) * (many - few) / max(1, more - base)))
    return replace(endpoint, words=words, tokens_in=_tokens(endpoint, words))


def _tokens(endpoint: MeasuredEndpoint, words: int) -> int:
    """Tokens of a prompt with so many words, by the endpoint's own count."""
    body = {"model": endpoint.model, "max_tokens": 1,
            "messages": [{"role": "user", "content": _question(random.Random(1), words)}]}  # fmt: skip
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    try:
        response = httpx.post(f"{endpoint.url}/chat/completions", json=body, headers=headers, timeout=ANSWER_S)
        response.raise_for_status()
        return int(response.json()["usage"]["prompt_tokens"])
    except httpx.HTTPStatusError as error:
        raise _refused(endpoint, f"status {error.response.status_code}: {error.response.text[:300]}") from error
    except httpx.HTTPError as error:
        raise TandemError(
            f"{endpoint.url} does not answer ({error}).",
            "The address of a running endpoint, such as http://127.0.0.1:8000.",
            "Start it with `tandem serve`, or correct the address.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(endpoint, "its answer is none of a chat completion") from error


def _processor(url: str) -> dict[str, float]:
    parts = urlsplit(url)
    return processor_seconds(parts.port or 80) if parts.hostname in LOCAL else {}


def _refused(endpoint: MeasuredEndpoint, seen: str) -> TandemError:
    return TandemError(
        f"{endpoint.url} could not be measured as {endpoint.model!r}: {seen}.",
        "An endpoint that answers every request of the load, with a key (TANDEM_API_KEY) where it asks for one.",
        "Check the model's name, the key and its limits, and that the endpoint takes as many requests at once.",
    )


LISTENING = "0A"
_REPLICA = re.compile(r"ray::ServeReplica:[^:]+:([a-z]+)")
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(port: int) -> dict[str, float]:
    """Seconds since the start of `gateway`, `engine` (the process that takes requests), `core` (below it), `retriever`,
    `limiter`, `milvus`, `controller` and `ray` (the rest of Ray); empty where nothing of ours listens on the port here.
    """
    gateway = _listener(port)
    if gateway is None or _role(gateway) != "gateway":
        return {}
    raylet = _parent(gateway)
    above = _parent(raylet)
    node = above if above > 1 else raylet
    seconds: dict[str, float] = defaultdict(float)
    _add(node, "", _children(), seconds)
    return dict(seconds)


def busy_seconds() -> float:
    """Seconds that all cores of the machine were busy since its start, together."""
    user, nice, system, _, _, *rest = (
        int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + sum(rest[:2])) / _TICKS


def _add(process: int, above: str, children: dict[int, list[int]], seconds: dict[str, float]) -> None:
    """The time of a process and of all below it; what an engine starts is its core."""
    role = _role(process) or {"engine": "core", "": ""}.get(above, above)
    with suppress(OSError, IndexError):
        fields = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()
        if role:
            seconds[role] += (int(fields[11]) + int(fields[12])) / _TICKS
    for child in children[process]:
        _add(child, role, children, seconds)


def _role(process: int) -> str:
    with suppress(OSError):
        command = (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if replica := _REPLICA.match(command):
            return replica[1]
        if command.startswith("ray::ServeController"):
            return "controller"
        if "milvus" in command:
            return "milvus"
        if command.startswith("ray::") or "/ray/" in command:
            return "ray"
    return ""


def _listener(port: int) -> int | None:
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in _pids():
        with suppress(OSError):
            for opened in (Path("/proc") / str(process) / "fd").iterdir():
                if str(opened.readlink()) in sockets:
                    return process
    return None


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for process in _pids():
        with suppress(OSError, IndexError):
            children[_parent(process)].append(process)
    return children


def _parent(process: int) -> int:
    return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])


def _pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
