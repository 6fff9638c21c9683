"""An address at which nobody listens is said within seconds."""

import os
import socket
import subprocess
import sys

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


@pytest.mark.slow
def test_a_local_ray_that_does_not_start_is_said_without_a_traceback() -> None:
    """It has nowhere to put its files."""
    code = (
        "from cluster.session import ray_session\nfrom cluster.config import ClusterConfig\n"
        "from cluster.errors import TandemError\n"
        "try:\n    with ray_session(ClusterConfig()): pass\nexcept TandemError as error: print(error)"
    )
    environment = os.environ | {"RAY_TMPDIR": "/proc/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.startswith("Ray did not start on this machine ([Errno 2] No such file"), done.stderr
