"""One Milvus Lite and one folder of documents for the tests that need them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.config import RetrievalConfig
from retrieval.store.milvus_lite import local_server
from tests.retrieval.servers import RealServer

FACTS = {
    "iron.md": "# Iron\n\nThe atomic number of Iron is 26.\n\nThe symbol of Iron is Fe.\n",
    "gold.md": "# Gold\n\nThe atomic number of Gold is 79.\n\nThe symbol of Gold is Au.\n",
    "people/curie.txt": "Marie Curie discovered polonium and radium in Paris.\n",
    "codes.md": "# Errors\n\nThe code XQ-7714 means that the paper tray is empty.\n",
}


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a Milvus Lite of this session."""
    with local_server(tmp_path_factory.mktemp("storage") / "milvus") as uri:
        yield uri


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A real Milvus server of this session, which asks for the token that the session then has. There is one at a
    time: its parts have fixed ports."""
    pytest.importorskip("milvus", reason="the package milvus (a Linux server binary) is not installed")
    started = RealServer(tmp_path_factory.mktemp("server"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MILVUS_TOKEN", "root:Milvus")
        started.start()
        yield started
        started.kill()


@pytest.fixture(scope="session")
def server(real_server: RealServer) -> str:
    """The URI of that server."""
    return real_server.uri


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for name, text in FACTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def config(documents: Path) -> RetrievalConfig:
    return RetrievalConfig(sources=[documents])


@pytest.fixture
def quiet() -> Callable[[str], None]:
    return lambda line: None
