"""What can go wrong with a store: errors that a caller tells apart, and those of Milvus as ours."""

from collections.abc import Iterator, Sequence
from typing import Any

from cluster.errors import TandemError

TOKEN_VARIABLE = "MILVUS_TOKEN"
NOT_LOADED = 101
# Milvus' own numbers (pkg/util/merr): the server, a replica, a channel, a segment or a node is not there yet, or not
# any more. A server that has just started answers so for some seconds.
NOT_READY = {2, 8, 103, *range(400, 402), *range(500, 504), *range(600, 604), *range(901, 906)}
# The same, where one part of the server hands on what another part said: under a number that says nothing (65535).
NOT_READY_SAYS = (
    "service not ready", "node not match", "node not found", "node offline", "node not available",
    "channel not available", "replica not available", "not fully loaded",
)  # fmt: skip


class RetrievalUnavailable(TandemError):
    """The store does not answer, or not in time, or a model has no memory left. The same search may work later."""


class UnknownCollection(TandemError):
    """No collection of that name has been built."""


class CollectionBusy(TandemError):
    """Another process writes to the collection."""


class WriterReplaced(TandemError):
    """This process was the writer of a collection, and another one took over."""


class RequestRefused(TandemError):
    """The server answered with an error; `code` is Milvus' own number."""

    code: int = 0


class CollectionNotLoaded(RequestRefused):
    """The collection is not in the server's memory."""


def unknown_collection(name: str, known: Sequence[str]) -> UnknownCollection:
    return UnknownCollection(
        f"The collection {name} does not exist.",
        f"Collections that exist: {', '.join(known)}." if known else "A collection exists once it has been indexed.",
        "Correct the name, or build it with `tandem index`.",
    )


def foreign_collection(uri: str, physical: str, dimensions: int | None) -> TandemError:
    """A collection that others made under a name that we would use."""
    vectors = f"with vectors of {dimensions} dimensions" if dimensions else "without vectors"
    return TandemError(
        f"The collection {physical} at {uri}, {vectors}, was not built by Tandem as it is needed here.",
        "Tandem reads and replaces only collections that it built itself, and drops no others.",
        "Set retrieval.collection to another name, or remove that collection if nobody needs it.",
    )


def owned_collection(name: str, uri: str, owner: str, where: str) -> TandemError:
    """A collection that another project built, which the documents of this one would replace."""
    return TandemError(
        f"The collection {name} at {uri} belongs to another project: {owner}, {where}.",
        "A collection holds the documents of one project: indexing another one would delete them.",
        "Set `retrieval.collection` to another name. If nobody needs those documents, run `tandem index --take-over`.",
    )


def owned_documents(name: str, uri: str, owner: str, where: str) -> TandemError:
    """A document of another project that was to be forgotten."""
    return TandemError(
        f"The collection {name} at {uri} belongs to another project: {owner}, {where}.",
        "A document is forgotten in the project that indexes it: that one would add it again.",
        "Run `tandem forget` in that project, or set `retrieval.collection` to this project's own.",
    )


def no_index(uri: str, version: str, kind: str, reason: str) -> TandemError:
    return TandemError(
        f"Milvus at {uri}, version {version}, cannot build the index {kind}: {reason.rstrip('.')}.",
        "retrieval.milvus.index: auto takes one that the server has; hnsw, ivf and flat are in every server, hnsw_sq "
        "in Milvus Lite and in servers since 2.5, rabitq in servers since 2.6.",
        "Set retrieval.milvus.index, and remove retrieval.milvus parameters that it does not take.",
    )


def no_partitions(uri: str, version: str) -> TandemError:
    return TandemError(
        f"Milvus at {uri} is version {version}, which loses rows of tenants in partitions when it replaces them.",
        "retrieval.milvus.tenant_partitions needs Milvus 2.4 or newer, or Milvus Lite.",
        "Set retrieval.milvus.tenant_partitions: 0, or use a newer server; tenants are kept apart either way.",
    )


def wrong_replicas(physical: str, replicas: int, refused: RequestRefused) -> TandemError:
    return TandemError(
        f"{refused.seen.rstrip('.')}: {physical} cannot be loaded {replicas} times.",
        "retrieval.milvus.replicas is at most the number of query nodes; some servers change it only for a collection "
        "that is not loaded.",
        "Lower retrieval.milvus.replicas, add query nodes, or release the collection and run this again.",
    )


def readable_error(error: Exception, uri: str) -> TandemError:
    """An error of pymilvus or gRPC as one that a user can read."""
    from grpc import StatusCode

    statuses = {_status(cause) for cause in _causes(error)}
    reason = str(getattr(error, "message", "") or error).split("\n")[0].rstrip(".")
    if statuses & {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}:
        return TandemError(
            f"Milvus at {uri} refuses the token.",
            f"The environment variable {TOKEN_VARIABLE} holds an API key, or user:password.",
            f"Set {TOKEN_VARIABLE} to a token of that server.",
        )
    silent = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED, StatusCode.UNKNOWN}
    if statuses & silent or "Fail connecting" in reason or "Retry timeout" in reason:
        return RetrievalUnavailable(
            f"Milvus at {uri} does not answer.",
            "retrieval.uri names a running Milvus server, or is `local`.",
            "Start the server or correct the address; the same question works again once it answers.",
        )
    code = getattr(error, "code", 0)
    message = str(getattr(error, "message", ""))
    if code in NOT_READY or any(words in message.lower() for words in NOT_READY_SAYS):
        return RetrievalUnavailable(
            f"Milvus at {uri} is not ready: {reason}.",
            "A server that has just started, or that lost a node, needs some seconds.",
            "The same call works once it is ready; its log says what it waits for.",
        )
    refused = (CollectionNotLoaded if code == NOT_LOADED else RequestRefused)(
        f"Milvus at {uri} reports: {reason}.",
        "The server and the collection take what this version of Tandem writes.",
        "Look into the server's log; `tandem index` builds a collection anew.",
    )
    refused.code = code
    return refused


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """pymilvus raises errors from themselves, so a chain of causes may be a ring."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> Any:
    """The gRPC status of an error; pymilvus keeps a number under the same name."""
    code = getattr(error, "code", None)
    return code() if callable(code) else code
