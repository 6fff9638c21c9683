"""The packaged model over a real socket: the same vectors as here, and an error for each way in which it can fail."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.embedding import endpoint as endpoint_module
from retrieval.embedding.embedder import Embedder, make_embedder
from retrieval.embedding.endpoint import KEY_VARIABLE, EndpointEmbedder
from retrieval.errors import RetrievalUnavailable
from retrieval.index import indexing
from retrieval.index.indexing import index_documents
from retrieval.prompt import estimate_tokens
from retrieval.search.search import Searcher
from retrieval.store.store import Store
from tests.retrieval.embedding_server import MODEL, EmbeddingServer, changed, embedding_server, fine, hang, raw, status
from tests.retrieval.index.test_indexing import rows, same

pytestmark = pytest.mark.slow
TEXTS = [f"Text {number}\n" + "It says something. " * (number % 7) for number in range(150)]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[EmbeddingServer]:
    with embedding_server() as server:
        yield server


@pytest.fixture
def remote(endpoint: EmbeddingServer) -> Callable[..., EndpointEmbedder]:
    endpoint.fail()

    def make(max_retries: int = 2, timeout_s: float = 20, **settings: Any) -> EndpointEmbedder:
        config = RetrievalConfig(embedding_url=endpoint.url, **settings)
        return EndpointEmbedder(config, max_retries, timeout_s)

    return make


Remote = Callable[..., EndpointEmbedder]


def test_its_vectors_are_those_of_the_model_here(remote: Remote, endpoint: EmbeddingServer) -> None:
    embedder, here = remote(), Embedder(MODEL, "cpu")
    assert embedder.dimensions == 384 and embedder.identity == f"endpoint:{MODEL}"
    assert np.allclose(embedder.embed_documents(TEXTS), here.embed_documents(TEXTS), atol=1e-5)
    assert embedder.embed_question("Iron") == pytest.approx(here.embed_question("Iron"), abs=1e-5)
    sizes = [len(texts) for _, texts in endpoint.requests]
    assert max(sizes) == endpoint_module.REQUEST_TEXTS and sum(sizes) == 1 + len(TEXTS) + 1


def test_prefixes_are_sent_and_counted(remote: Remote, endpoint: EmbeddingServer) -> None:
    embedder = remote(query_prefix="query: ", passage_prefix="passage: ", embedding_max_tokens=100)
    assert embedder.dimensions
    embedder.embed_documents(["Iron"])
    embedder.embed_question("Gold")
    assert [texts for _, texts in endpoint.requests[1:]] == [["passage: Iron"], ["query: Gold"]]
    assert embedder.max_tokens == 100 - estimate_tokens("passage: ")


def test_tokens_are_counted_by_the_tokenizer_that_is_named(remote: Remote) -> None:
    named = remote(embedding_tokenizer=MODEL)
    assert named.count_tokens("The atomic number of Iron is 26.") == 8
    assert remote().count_tokens("The atomic number of Iron is 26.") == 11
    assert len(named.tokenizer_identity) == 64 and remote().tokenizer_identity == "estimate"
    with pytest.raises(TandemError, match=r"tokenizer nobody/nothing cannot be loaded.*embedding_tokenizer"):
        remote(embedding_tokenizer="nobody/nothing").count_tokens("a")


def test_an_overloaded_server_is_asked_again_when_it_says(remote: Remote, endpoint: EmbeddingServer) -> None:
    endpoint.fail(status(429, Retry_After="1"), status(503), fine)
    assert remote().dimensions == 384
    first, second, third = (moment for moment, _ in endpoint.requests)
    assert second - first >= 1 and third - second >= 0.3


@pytest.mark.parametrize("fault", [status(500), status(429), hang])
def test_a_server_that_fails_for_ever_is_given_up(remote: Remote, endpoint: EmbeddingServer, fault: Any) -> None:
    endpoint.fail(fault, forever=True)
    with pytest.raises(RetrievalUnavailable, match=r"127\.0\.0\.1.* (answers with status|does not answer)"):
        assert remote(timeout_s=1).dimensions
    assert len(endpoint.requests) == 3
    endpoint.fail(fault, forever=True)
    with pytest.raises(RetrievalUnavailable):
        remote(timeout_s=1).embed_question("Iron")
    assert len(endpoint.requests) == 1, "somebody waits for a question"


def test_nobody_there(remote: Remote) -> None:
    gone = EndpointEmbedder(RetrievalConfig(embedding_url="http://127.0.0.1:9/v1"), max_retries=1)
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        gone.embed_question("Iron")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[1:], "embeddings for"),
        (lambda data: [*data, data[0]], "embeddings for"),
        (lambda data: [{**each, "index": 0} for each in data], "embeddings for"),
        (lambda data: None, "no list of embeddings"),
        (lambda data: [{"index": each["index"]} for each in data], "no list of embeddings"),
        (lambda data: [{**each, "embedding": "AAAA"} for each in data], "no list of embeddings"),
        (lambda data: [{**each, "embedding": each["embedding"][: 9 + each["index"]]} for each in data], "no list"),
        (lambda data: [{**each, "embedding": [float("nan")] * 384} for each in data], "what is no number"),
        (lambda data: [{**each, "embedding": [0.0] * 384} for each in data], "zero"),
        (lambda data: [{**each, "embedding": each["embedding"][:9]} for each in data], "9 dimensions after"),
    ],
)
def test_strange_answers_are_refused(remote: Remote, endpoint: EmbeddingServer, change: Any, said: str) -> None:
    embedder = remote()
    assert embedder.dimensions == 384
    endpoint.fail(changed(change))
    with pytest.raises(TandemError, match=rf"answered with .*{said}"):
        embedder.embed_documents(["Iron", "Gold"])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"<html>", b"null", b"[]", b"{}", b'{"data": {"a": 1}}'])
def test_an_answer_that_is_none_is_refused(remote: Remote, endpoint: EmbeddingServer, body: bytes) -> None:
    endpoint.fail(raw(body))
    with pytest.raises(TandemError, match="answered with something that is no"):
        remote().embed_question("Iron")


def test_a_model_that_is_not_served_and_texts_that_are_refused(remote: Remote, endpoint: EmbeddingServer) -> None:
    with pytest.raises(TandemError, match=r"refuses the texts.*no model other.*embedding_model"):
        remote(embedding_model="other").embed_question("Iron")
    endpoint.fail(status(400))
    with pytest.raises(TandemError, match=r"status 400.*embedding_max_tokens"):
        remote().embed_question("Iron")


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with embedding_server("right-key") as server:
        config = RetrievalConfig(embedding_url=server.url)
        monkeypatch.setenv(KEY_VARIABLE, "wrong-key")
        with pytest.raises(TandemError, match=f"refuses the key.*{KEY_VARIABLE}") as refused:
            EndpointEmbedder(config).embed_question("Iron")
        assert "wrong-key" not in str(refused.value) and len(server.requests) == 1
        monkeypatch.setenv(KEY_VARIABLE, "right-key")
        assert len(EndpointEmbedder(config).embed_question("Iron")) == 384


def test_a_server_that_goes_in_the_middle_of_a_sync_leaves_nothing_half_applied(
    config: RetrievalConfig, documents: Path, milvus: str, endpoint: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "MAX_RETRIES", 1)
    monkeypatch.setattr(EndpointEmbedder, "__init__", _impatient)
    monkeypatch.setattr(EndpointEmbedder, "round_chunks", 1)
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 1)
    remote = config.model_copy(update={"embedding_url": endpoint.url})
    endpoint.fail(fine, fine, fine, status(500), forever=True)
    with pytest.raises(RetrievalUnavailable, match="answers with status 500"):
        index_documents(remote, "endpoint", milvus, lambda _: None)
    assert "endpoint" not in Store(milvus).collections(), "half a collection is not searched"

    endpoint.fail()
    report = index_documents(remote, "endpoint", milvus, lambda _: None)
    assert (report.added, report.unchanged) == (2, 2), "what was indexed stays"
    index_documents(config, "here", milvus, lambda _: None)
    same(rows(milvus, "endpoint"), rows(milvus, "here"))

    searcher = Searcher(remote, milvus)
    assert searcher.search("endpoint", "What is the symbol of Gold?", mode="dense").hits[0].source == "gold.md"
    before = rows(milvus, "endpoint")
    (documents / "gold.md").write_text("# Gold\n\nIt glitters.\n")
    endpoint.fail(status(500), forever=True)
    with pytest.raises(RetrievalUnavailable):
        index_documents(remote, "endpoint", milvus, lambda _: None)
    same(rows(milvus, "endpoint"), before)
    with pytest.raises(RetrievalUnavailable):
        searcher.search("endpoint", "What is the symbol of Gold?")
    endpoint.fail()
    assert index_documents(remote, "endpoint", milvus, lambda _: None).changed == 1


_patient = EndpointEmbedder.__init__


def _impatient(self: EndpointEmbedder, config: RetrievalConfig) -> None:
    _patient(self, config, max_retries=1, timeout_s=20)


def test_the_project_file_chooses() -> None:
    assert isinstance(make_embedder(RetrievalConfig()), Embedder)
    assert isinstance(make_embedder(RetrievalConfig(embedding_url="http://x/v1/")), EndpointEmbedder)
