"""Whether anybody listens at a cluster's address: Ray itself waits for ever where nobody does."""

import socket
from urllib.parse import urlsplit

from cluster.errors import TandemError

CONNECT_S = 10.0


def check_reachable(address: str) -> None:
    """For `host:port` and `ray://host:port`; of `local` and `auto` Ray says it itself.

    Raises:
        TandemError: nobody listens there.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if address in ("local", "auto") or host is None or port is None:
        return
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        raise TandemError(
            f"No Ray cluster answers at {address!r} ({error.strerror or error}).",
            "`local`, `auto`, or the address of a running cluster.",
            "Set `cluster.address`, start the cluster, or let this machine reach it.",
        ) from error
