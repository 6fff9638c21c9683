"""The only file that knows pymilvus: a connection, a collection's schema in its words, and its errors as ours.

For TLS it passes pymilvus the certificates, and finds out why a handshake failed, which gRPC does not say.
"""

import logging
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.errors import TandemError
from retrieval.config import MilvusConfig
from retrieval.errors import TOKEN_VARIABLE, RetrievalUnavailable, readable_error, unknown_collection
from retrieval.store import connection
from retrieval.store.collection import CollectionSettings, analyzed_field, collection_fields

if TYPE_CHECKING:
    from pymilvus import MilvusClient


COLLECTION_NOT_FOUND = 100
# gRPC waits up to two minutes between two looks at a server that went away.
_RECONNECT = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 1000}


def connect(uri: str, config: MilvusConfig, timeout_s: float) -> "MilvusClient":
    """A connection of its own: closing a shared one would close it for others in the process."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pymilvus import MilvusClient

    # pymilvus logs each failure with its stack trace, also those that are explained here.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    options, token = connection.tls_options(config), os.environ.get(TOKEN_VARIABLE, "")
    try:
        with explained_connection(uri):
            return MilvusClient(uri, token=token, timeout=timeout_s, dedicated=True, grpc_options=_RECONNECT, **options)
    except RetrievalUnavailable:
        connection.check_tls(uri, config, timeout_s)
        raise


@contextmanager
def explained_connection(uri: str, name: str | None = None) -> Iterator[None]:
    """Errors of pymilvus and gRPC as ours; `name` is the collection that was asked for."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        if name is not None and getattr(error, "code", None) == COLLECTION_NOT_FOUND:
            raise unknown_collection(name, []) from error
        raise readable_error(error, uri) from error


def make_client(
    client: "MilvusClient", physical: str, settings: CollectionSettings, properties: Mapping[str, str], timeout_s: float
) -> None:
    """An empty collection, without indexes; `properties` are kept with it."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    for field in collection_fields(settings):
        schema.add_field(field.name, DataType[field.kind], **field.options)
    if settings.bm25:
        schema.add_function(Function("bm25", FunctionType.BM25, [analyzed_field(settings)], ["sparse"]))
    partitions = {"num_partitions": settings.num_partitions} if settings.num_partitions else {}
    client.create_collection(
        physical,
        schema=schema,
        num_shards=settings.num_shards,
        consistency_level="Bounded",
        properties=dict(properties),
        timeout=timeout_s,
        **partitions,
    )


def make_empty(client: "MilvusClient", physical: str, properties: Mapping[str, str], timeout_s: float) -> None:
    """A collection without rows and indexes, which is there for its properties."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # no collection is without one
    client.create_collection(physical, schema=schema, num_shards=1, properties=dict(properties), timeout=timeout_s)


HTTPS = 443


def tls_options(config: MilvusConfig) -> dict[str, str]:
    """Arguments of a MilvusClient.

    Raises:
        TandemError: `ca_file` holds no certificates.
    """
    options = {}
    if config.ca_file is not None:
        _context(config)
        options["server_pem_path"] = str(config.ca_file)
    if config.server_name is not None:
        options["server_name"] = config.server_name
    return options


def check_tls(uri: str, config: MilvusConfig, timeout_s: float) -> None:
    """Shake hands with an https address that gRPC could not connect to.

    Raises:
        TandemError: the server's certificate is not trusted or is another server's, or it speaks no TLS.
    """
    address = urlsplit(uri)
    if address.scheme != "https" or address.hostname is None:
        return
    name = config.server_name or address.hostname
    try:
        with (
            socket.create_connection((address.hostname, address.port or HTTPS), timeout=timeout_s) as plain,
            _context(config).wrap_socket(plain, server_hostname=name),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise TandemError(
            f"The certificate of Milvus at {uri} is not trusted: {error.verify_message.rstrip('.')}.",
            "A certificate for the name in retrieval.uri, signed by an authority that this machine or "
            "retrieval.milvus.ca_file knows.",
            "Set retrieval.milvus.ca_file to the authority's certificate, or retrieval.milvus.server_name to the name.",
        ) from error
    except ssl.SSLError as error:
        raise TandemError(
            f"Milvus at {uri} does not speak TLS: {error.reason}.",
            "An https address is that of a server or proxy that speaks TLS.",
            "Write http:// in retrieval.uri if this server has none.",
        ) from error
    except OSError:
        return  # nobody there: that is what the caller says


def _context(config: MilvusConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TandemError(
            f"retrieval.milvus.ca_file {config.ca_file} cannot be read: {error.strerror or error}.",
            "A PEM file with the certificates of those who sign the server's.",
            "Correct the path, or leave the key out to trust the usual authorities.",
        ) from error
    context.set_alpn_protocols(["h2"])
    return context
