"""Index runs and stores are killed at random moments: the next run makes the collection what one built in one go is."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from retrieval.store.collection import ChunkRow
from retrieval.store.milvus_lite import local_server, running_server
from tests.retrieval.crashing import COLLECTION, Run
from tests.retrieval.index.test_indexing import rows, same

pytestmark = [pytest.mark.slow, pytest.mark.matrix, pytest.mark.timeout(900)]
ROUNDS = [1, 20]


class Documents:
    """A folder that changes between two states: documents come, go, and have other text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def become(self, state: int) -> None:
        for number in range(36):
            path = self.folder / f"{number:02}.md"
            kind = number % 3
            if kind == 0 and number % 2 == state:
                path.unlink(missing_ok=True)
                continue
            text = f"number {number} in state {state}" if kind == 1 else f"number {number}"
            path.write_text(
                f"# Document {number}\n\nThis is {text}.\n\n## More\n\n{'Some more words. ' * (number * 3)}\n"
            )


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    return Documents(tmp_path_factory.mktemp("crashes") / "docs")


@pytest.fixture(scope="module")
def built(documents: Documents, milvus: str) -> tuple[list[dict[str, ChunkRow]], float]:
    """What each state's collection holds when it is built in one go, and the seconds that a run from one to the other
    takes."""
    states = []
    for state in (0, 1):
        documents.become(state)
        finish(documents, milvus, f"state-{state}")
        states.append(rows(milvus, f"state-{state}"))
    documents.become(0)
    run = Run(documents.folder, milvus, "state-1")
    run.began()
    started = time.monotonic()
    assert run.ended() == "done"
    return states, time.monotonic() - started


def finish(documents: Documents, uri: str, collection: str = COLLECTION) -> None:
    """A run that nobody disturbs."""
    run = Run(documents.folder, uri, collection)
    run.began()
    assert run.ended() == "done"


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(
    documents: Documents, milvus: str, built: tuple[list[dict[str, ChunkRow]], float], rounds: int
) -> None:
    states, seconds = built
    documents.become(0)
    finish(documents, milvus)
    moments, num_cut = Random(7), 0
    for number in range(rounds):
        state = 1 - number % 2
        documents.become(state)
        run = Run(documents.folder, milvus)
        run.began()
        time.sleep(moments.uniform(0, seconds))
        run.kill()
        left = rows(milvus, COLLECTION)
        num_cut += left.keys() != states[state].keys()
        assert unchanged(states) <= left.keys(), "what both states have is never missing"
        finish(documents, milvus)
        same(rows(milvus, COLLECTION), states[state])
    assert num_cut >= rounds // 3, "some runs were killed before their end"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "milvus"
    yield folder
    if address := running_server(folder):
        os.kill(address.pid, signal.SIGKILL)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_store_that_is_killed_anywhere_loses_nothing(
    documents: Documents, own_server: Path, built: tuple[list[dict[str, ChunkRow]], float], rounds: int
) -> None:
    states, seconds = built
    documents.become(0)
    with local_server(own_server) as uri:
        finish(documents, uri)
    moments = Random(11)
    for number in range(rounds):
        state = 1 - number % 2
        documents.become(state)
        with local_server(own_server) as uri:
            run = Run(documents.folder, uri)
            run.began()
            time.sleep(moments.uniform(0, seconds))
            address = running_server(own_server)
            assert address
            os.kill(address.pid, signal.SIGKILL)
            said = run.ended()
            assert said == "done" or "does not answer" in said, said
        with local_server(own_server) as uri:
            finish(documents, uri)
            same(rows(uri, COLLECTION), states[state])


def unchanged(states: list[dict[str, ChunkRow]]) -> set[str]:
    """Ids of the rows that both states have, apart from the last digits of their vectors."""
    both = states[0].keys() & states[1].keys()
    return {key for key in both if states[0][key].source_hash == states[1][key].source_hash}
