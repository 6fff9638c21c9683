"""One Milvus Lite and one folder of documents for the tests that need them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.config import RetrievalConfig
from retrieval.local import local_server

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a real Milvus server of this session."""
    milvus = pytest.importorskip("milvus", reason="the package milvus (a Linux server binary) is not installed")
    server = milvus.MilvusServer()
    server.set_base_dir(str(tmp_path_factory.mktemp("server")))
    server.start()
    try:
        yield f"http://127.0.0.1:{server.listen_port}"
    finally:
        server.stop()


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
