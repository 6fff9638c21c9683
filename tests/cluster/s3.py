"""An S3 server on loopback, with the credentials for it in the environment."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address; what is started meanwhile finds it, and a bucket named `bucket`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    known = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    }  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in known.items():
                environment.setenv(name, value)
            httpx.put(f"http://{host}:{port}/bucket").raise_for_status()
            yield f"http://{host}:{port}"
    finally:
        server.stop()
