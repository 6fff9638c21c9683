"""A server that is killed in the middle of a sync: borne where it comes back in time, and told where it does not."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.index import indexing
from retrieval.index.indexing import index_documents
from retrieval.search.search import Searcher
from retrieval.store.store import Store
from tests.retrieval.index.test_indexing import rows, same
from tests.retrieval.servers import LiteServer, RealServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Server = LiteServer | RealServer
MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"
ASKS_FOR_A_TOKEN = pytest.mark.parametrize("server", ["real"], indirect=True)


BOTH = pytest.mark.parametrize("server", ["lite", pytest.param("real", marks=pytest.mark.matrix)], indirect=True)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "real":
        yield request.getfixturevalue("real_server")
        return
    started = LiteServer(tmp_path_factory.mktemp("lite"))
    started.start()
    yield started
    started.kill()


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(16):
        parts = [f"## Part {part}\n\nPart {part} of {number}. {'Some words. ' * 8}" for part in range(number % 4 + 1)]
        (folder / f"{number:02}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(parts) + "\n")
    return folder


def configured(server: Server, documents: Path, retry_s: float) -> RetrievalConfig:
    return RetrievalConfig.model_validate(
        {"sources": [documents], "mode": server.mode, "chunk_tokens": 64, "milvus": {"retry_s": retry_s}}
    )


@BOTH
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.matrix)])
def test_a_restart_in_the_middle_is_borne(
    server: Server, documents: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    config = configured(server, documents, retry_s=90)
    index_documents(config, "one-go", server.uri, lambda _: None)
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 4)
    at, moments, seen = Random(seed).randint(2, 6), Random(seed), []
    back = threading.Event()

    def kill_and_restart() -> None:
        time.sleep(moments.uniform(0, 0.1))
        server.kill()
        time.sleep(1)
        server.start()
        back.set()

    def on_progress(line: str) -> None:
        seen.append(line)
        if len(seen) == at:
            threading.Thread(target=kill_and_restart).start()

    report = index_documents(config, f"killed-{seed}", server.uri, on_progress)
    assert back.wait(60) and report.added == 16
    same(rows(server.uri, f"killed-{seed}"), rows(server.uri, "one-go"))


@BOTH
def test_a_server_that_does_not_come_back_is_told_and_the_next_run_finishes(
    server: Server, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(server, documents, retry_s=3)
    index_documents(config, "one-go", server.uri, lambda _: None)
    seen: list[str] = []

    def on_progress(line: str) -> None:
        seen.append(line)
        if len(seen) == 3:
            server.kill()
            seen.append(f"killed {time.monotonic()}")

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "BATCH_CHUNKS", 4)
        with pytest.raises(RetrievalUnavailable, match="does not answer"):
            index_documents(config, "unfinished", server.uri, on_progress)
    assert time.monotonic() - float(seen[3].split()[1]) < 15
    server.start()
    assert index_documents(configured(server, documents, 60), "unfinished", server.uri, lambda _: None).failed == []
    same(rows(server.uri, "unfinished"), rows(server.uri, "one-go"))


@BOTH
def test_a_search_does_not_wait_for_it(server: Server, documents: Path) -> None:
    config = configured(server, documents, retry_s=60)
    index_documents(config, "one-go", server.uri, lambda _: None)
    searcher = Searcher(config.model_copy(update={"timeout_s": 1.0}), server.uri)
    assert searcher.search("one-go", "Part 1 of 7").hits
    server.kill()
    started = time.monotonic()
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        searcher.search("one-go", "Part 1 of 7")
    assert time.monotonic() - started < 5
    server.start()
    deadline = time.monotonic() + 60
    while True:  # it works again by itself once the server does
        try:
            assert searcher.search("one-go", "Part 1 of 7").hits
            return
        except RetrievalUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.5)


@ASKS_FOR_A_TOKEN
def test_the_right_token_is_let_in_and_others_are_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Store(server.uri).collections(), list)
    for wrong in ("root:wrong", "nobody:Milvus", ""):
        monkeypatch.setenv("MILVUS_TOKEN", wrong)
        with pytest.raises(TandemError, match=r"refuses the token.*MILVUS_TOKEN") as raised:
            Store(server.uri, timeout_s=2)
        assert not isinstance(raised.value, RetrievalUnavailable)
        assert "wrong" not in str(raised.value)


@ASKS_FOR_A_TOKEN
def test_the_command_ends_with_2_where_the_token_is_wrong(
    server: Server, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = documents.parent / "tandem.yaml"
    project.write_text(
        f"project: tokens\nmodel: {MODEL}\nretrieval: {{sources: [docs], mode: dense, uri: '{server.uri}'}}\n"
    )
    monkeypatch.setenv("MILVUS_TOKEN", "root:wrong")
    command = [sys.executable, "-m", "tandem", "index", "-c", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "refuses the token" in done.stderr and "MILVUS_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
