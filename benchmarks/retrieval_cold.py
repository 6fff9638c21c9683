"""What a search costs that begins with nothing loaded: processor time of `tandem search` and `tandem index`."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.results import row
from benchmarks.retrieval_data import write_documents
from tandem.project.project import Project, load

NUM_RUNS = 5
ROOT = Path(__file__).parents[1]
MODEL = ROOT / "examples" / "quickstart" / "model"


def cold_commands(folder: Path, num_documents: int) -> Iterator[dict[str, Any]]:
    """Processor time (user and system, with all processes that a command waits for) of whole commands, each the median
    of five."""
    from retrieval.store.milvus_lite import local_server

    write_documents(folder / "docs", num_documents)
    file = folder / "tandem.yaml"
    settings = {"project": "cold", "model": str(MODEL), "retrieval": {"sources": ["docs"]}, "serving": {"port": 8397}}
    file.write_text(yaml.safe_dump(settings))
    project = load(file)
    question = ("search", "What is in part 7?", "--json")
    processor_s(folder, "index")  # also keeps the export of the embedding model
    yield row("cold_search_cpu_s: Milvus Lite is started too", "s", repeated(lambda: processor_s(folder, *question)))
    with local_server(project.storage.milvus) as uri:
        found = repeated(lambda: processor_s(folder, *question))
        yield row("cold_search_cpu_s: the store runs", "s", found, "<= 3")
        with retrieval_endpoint(project, uri):
            found = repeated(lambda: processor_s(folder, *question))
            yield row("cold_search_cpu_s: an endpoint is asked", "s", found, "<= 1.5")
        numbers = iter(range(NUM_RUNS))

        def add_file() -> float:
            (folder / "docs" / f"small-{next(numbers)}.md").write_text("# A note\n\nThe door code is 4711.\n")
            return processor_s(folder, "index")

        yield row("cold_index_cpu_s: one small file, the store runs", "s", repeated(add_file), "<= 3")


def repeated(measure: Callable[[], float]) -> float:
    return round(median(measure() for _ in range(NUM_RUNS)), 2)


def processor_s(folder: Path, *arguments: str) -> float:
    """User and system seconds of `tandem` with these arguments, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tandem", *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return usage.ru_utime + usage.ru_stime


class Handle:
    """An object's async methods as Serve's handle has them, in this process."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        return type("Method", (), {"remote": staticmethod(method)})


@contextmanager
def retrieval_endpoint(project: Project, uri: str) -> Iterator[None]:
    """The project's gateway and retriever as they are, in a thread of this process and without an engine."""
    import uvicorn

    from retrieval.search.search import digest_search_settings
    from serving.gateway.gateway import Gateway
    from serving.gateway.routes import make_app
    from serving.gateway.settings import GatewaySettings
    from serving.retriever import Retriever

    settings = GatewaySettings(
        bases={}, adapters=project.storage.adapters, max_lora_rank=32, request_timeout_s=60, answer_without=False,
        prompt_tokens=1024, retrieval_timeout_s=10, max_requests=8, drain_s=0,
        search_settings=digest_search_settings(project.retrieval, uri),
    )  # fmt: skip
    retriever: Any = Handle(Retriever(project.retrieval, uri))
    app = make_app(Gateway(settings, {}, retriever))
    config = uvicorn.Config(app, host="127.0.0.1", port=project.serving.port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)
