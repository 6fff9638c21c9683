"""The endpoint on a cluster of a head without CPUs and two workers, which lose a worker, their head's
control store, and the whole head.

Each request is written down with when it was sent and how it ended. The tests go on from one another.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from serving.access.keys import Keys, Limits
from tests.cluster.asking import asking
from tests.cluster.nodes import Node, Nodes, several_nodes
from tests.ports import free_port
from tests.serving.served_app import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.timeout(1800)]
DEPLOY = """
from ray import serve
from tandem.deployment import build
serve.start(proxy_location="Disabled")
serve.run(build({"project": sys.argv[1]}), name="tandem", route_prefix=None, blocking=False)
"""
STATUS = """
from ray import serve
try:
    app = serve.status().applications["tandem"]
    print(app.status.value, {name: (one.status.value, one.message) for name, one in app.deployments.items()})
except ray.exceptions.RayError as error:
    print(error)
"""
ENGINE, GATEWAY = "tandem:engine-base", "tandem:gateway"
REPLACED_S = 400.0
OBSERVED_S = 40.0
AWAY_S = 20.0


@dataclass
class Served:
    """The nodes, and the endpoint on them."""

    nodes: Nodes
    head: Node
    url: str
    headers: dict[str, str]

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.nodes.started if node.address != self.head.address and node.processes()]

    def with_process(self, name: str) -> list[Node]:
        return [node for node in (self.head, *self.workers) if node.processes(name)]

    @property
    def engines(self) -> set[int]:
        return {pid for node in self.workers for pid in node.processes(ENGINE)}

    def has_both_engines(self) -> bool:
        return len(self.engines) == 2 and self.is_healthy()

    def ask(self) -> int:
        return httpx.post(f"{self.url}/v1/chat/completions", json=body(0), headers=self.headers, timeout=60).status_code

    def controls(self) -> bool:
        """Whether Serve's controller answers, and finds its deployments well."""
        said = self.nodes.run(STATUS)
        print("Serve says:", said.strip(), flush=True)
        return "RUNNING" in said

    def is_healthy(self) -> bool:
        return httpx.get(f"{self.url}/health", timeout=30).status_code == 200


def body(number: int, max_tokens: int = 24) -> dict[str, Any]:
    """Half of them streams; those of another number may go to another engine."""
    messages = [{"role": "user", "content": f"{number}: what is the atomic number of Iron?"}]
    return {
        "model": "base", "messages": messages, "max_tokens": max_tokens, "ignore_eos": True, "stream": number % 2 == 1
    }  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, port = tmp_path_factory.mktemp("project"), free_port()
    _, secret = Keys(folder / "runs" / "keys").create("load", limits=Limits(requests_per_minute=100_000))
    with several_nodes(with_redis=True) as nodes:
        serving = {"port": port, "num_replicas": 2, "request_timeout_s": 60, "redis_url": f"redis://{nodes.redis}"}
        project = folder / "tandem.yaml"
        project.write_text(yaml.safe_dump({"project": "nodes", "model": str(MODEL), "serving": serving}))
        head = nodes.head()
        nodes.workers(4, 4)
        nodes.run(DEPLOY, str(project), timeout_s=900)
        found = Served(nodes, head, f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {secret}"})
        wait_for(found.is_healthy, 120)
        yield found


def test_engines_are_on_different_nodes_and_nothing_of_ours_is_on_the_head(served: Served) -> None:
    assert len(served.with_process(ENGINE)) == 2, [node.processes("tandem:") for node in served.nodes.started]
    assert not served.head.processes("tandem:")
    assert served.with_process(GATEWAY)


def test_a_drained_worker_costs_no_request(served: Served) -> None:
    """What a pod does that is to go: another engine is there before its own is asked no more."""
    (gateway,) = served.with_process(GATEWAY)
    (drained,) = (node for node in served.workers if node is not gateway)
    served.nodes.workers(4)
    with asking(f"{served.url}/v1/chat/completions", [body(n) for n in range(8)], served.headers) as clients:
        wait_for(lambda: len(clients.asked) > 40, 120)
        began = time.monotonic()
        served.nodes.drain(drained, REPLACED_S)
        wait_for(lambda: not drained.processes(ENGINE) and served.has_both_engines(), REPLACED_S)
        moved = time.monotonic()
        loss = drained.kill()
        time.sleep(OBSERVED_S)
    print(f"the engine moved within {moved - began:.0f} s;", clients.told(loss))
    assert len([one for one in clients.asked if one.ended > began]) > 40
    assert not clients.failed, clients.told(loss)


def test_a_lost_worker_costs_the_requests_in_flight_on_it_and_no_other(
    served: Served,
) -> None:
    (gateway,) = served.with_process(GATEWAY)
    (lost,) = (node for node in served.workers if node is not gateway)
    with asking(f"{served.url}/v1/chat/completions", [body(n) for n in range(8)], served.headers) as clients:
        wait_for(lambda: len(clients.asked) > 40, 120)
        loss = lost.kill()
        time.sleep(OBSERVED_S)
    print("a worker lost:", clients.told(loss))
    assert all(one.was_in_flight(loss) for one in clients.failed), clients.told(loss)
    served.nodes.workers(4)
    wait_for(served.has_both_engines, REPLACED_S)
    print(f"both engines again after {time.monotonic() - loss[1]:.0f} s")


@pytest.mark.parametrize("part", ["gcs_server", ""], ids=["its control store", "all of it"])
def test_answers_go_on_while_the_head_is_lost_and_comes_back(served: Served, part: str) -> None:
    with asking(f"{served.url}/v1/chat/completions", [body(0), body(1)], served.headers, pause_s=0.3) as clients:
        wait_for(lambda: len(clients.asked) > 6, 120)
        loss = served.head.kill(part)
        time.sleep(AWAY_S)
        served.head.kill()  # without its control store the rest of a head ends by itself
        num_meanwhile = len([one for one in clients.asked if one.sent > loss[1]])
        print("while the head is away:", clients.told(loss), flush=True)
        assert num_meanwhile > 10 and not clients.failed, clients.told(loss)
        served.head = served.nodes.head()
        back = time.monotonic()
        wait_for(served.controls, REPLACED_S)
        print(f"Serve is in control {time.monotonic() - back:.0f} s after the head was back")
    print("the head lost:", clients.told(loss))
    assert not clients.failed, clients.told(loss)


def test_an_engine_is_replaced_by_the_head_that_came_back(served: Served) -> None:
    killed = min(served.engines)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in served.engines and served.has_both_engines(), REPLACED_S)
    assert served.ask() == 200


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.3)
