"""The only file that knows pymilvus: a connection, a collection's schema in its words, and its errors as ours."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from retrieval import tls
from retrieval.errors import TOKEN_VARIABLE, RetrievalUnavailable, translated, unknown_collection
from retrieval.milvus_config import MilvusConfig
from retrieval.schema import Settings, fields

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
    options, token = tls.options(config), os.environ.get(TOKEN_VARIABLE, "")
    try:
        with explained(uri):
            return MilvusClient(uri, token=token, timeout=timeout_s, dedicated=True, grpc_options=_RECONNECT, **options)
    except RetrievalUnavailable:
        tls.check(uri, config, timeout_s)
        raise


@contextmanager
def explained(uri: str, name: str | None = None) -> Iterator[None]:
    """Errors of pymilvus and gRPC as ours; `name` is the collection that was asked for."""
    from grpc import RpcError
    from pymilvus import MilvusException

    try:
        yield
    except (MilvusException, RpcError) as error:
        if name is not None and getattr(error, "code", None) == COLLECTION_NOT_FOUND:
            raise unknown_collection(name, []) from error
        raise translated(error, uri) from error


def make(
    client: "MilvusClient", physical: str, settings: Settings, properties: Mapping[str, str], timeout_s: float
) -> None:
    """An empty collection, without indexes; `properties` are kept with it."""
    from pymilvus import DataType, Function, FunctionType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    for field in fields(settings):
        schema.add_field(field.name, DataType[field.kind], **field.options)
    if settings.bm25:
        schema.add_function(Function("bm25", FunctionType.BM25, ["content"], ["sparse"]))
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
