"""A server behind TLS: who is trusted, and what is said where nobody is."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cluster.errors import TandemError
from retrieval.config import MilvusConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.store.store import Store
from tests.retrieval.proxy import Certificates, make_certificates, tls_in_front_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "milvus.test", "DNS:milvus.test")


@pytest.fixture(scope="module")
def port(milvus: str, certificates: Certificates) -> Iterator[int]:
    with tls_in_front_of(urlsplit(milvus).port or 0, certificates) as port:
        yield port


def test_a_server_whose_authority_is_named_is_trusted(port: int, certificates: Certificates) -> None:
    config = MilvusConfig(ca_file=certificates.authority, server_name="milvus.test")
    store = Store(f"https://127.0.0.1:{port}", config)
    assert store.is_lite
    assert isinstance(store.collections(), list)
    store.close()


def test_another_name_than_the_certificate_s_is_told(port: int, certificates: Certificates) -> None:
    with pytest.raises(TandemError, match=r"not trusted.*127\.0\.0\.1.*server_name") as raised:
        Store(f"https://127.0.0.1:{port}", MilvusConfig(ca_file=certificates.authority), timeout_s=2)
    assert not isinstance(raised.value, RetrievalUnavailable)


def test_another_authority_is_told(port: int, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other", "DNS:milvus.test")
    for ca_file in (other.authority, None):
        config = MilvusConfig(ca_file=ca_file, server_name="milvus.test")
        with pytest.raises(TandemError, match=r"certificate.*not trusted.*ca_file"):
            Store(f"https://127.0.0.1:{port}", config, timeout_s=2)


def test_https_where_no_tls_is_spoken_is_told(milvus: str) -> None:
    with pytest.raises(TandemError, match=r"does not speak TLS.*http://"):
        Store(milvus.replace("http:", "https:"), timeout_s=2)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_that_holds_no_authority_is_told(tmp_path: Path, milvus: str, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(TandemError, match=r"ca_file .*ca\.pem cannot be read"):
        Store(milvus.replace("http:", "https:"), MilvusConfig(ca_file=path), timeout_s=2)
