"""An address at which nobody listens is said within seconds."""

import socket

import pytest

from cluster.errors import TandemError
from cluster.session import check_reachable


def test_an_address_is_tried_and_names_of_ours_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        check_reachable(f"127.0.0.1:{port}")
        check_reachable(f"ray://127.0.0.1:{port}")
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "no-such-host.invalid:6379"):
        with pytest.raises(TandemError, match="No Ray cluster answers"):
            check_reachable(address)
    for address in ("local", "auto"):
        check_reachable(address)
