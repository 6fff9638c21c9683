"""Whether a bucket can be written, read, and takes a file only where there is none, and how fast it is."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

from cluster.buckets import open_store, reason
from cluster.preflight.finding import Finding

MIB = 2**20
PROBE_BYTES = 8 * MIB
REQUEST_S = 20
MEND = (
    "Correct the address and the credentials in the environment (AWS_..., GOOGLE_..., AZURE_...); they need list, "
    "read, write and delete."
)


def check(url: str, num_bytes: int = PROBE_BYTES) -> Iterator[Finding]:
    """`url` is such as s3://bucket/prefix. What is written is deleted again."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        store, path = open_store(url, REQUEST_S)
        key = f"{path}/.doctor-{uuid.uuid4().hex}".lstrip("/")
        try:
            started = time.monotonic()
            store.put(key, os.urandom(num_bytes), mode="create")
            written = time.monotonic()
            size = len(store.get(key).bytes().to_bytes())
            ended = time.monotonic()
            try:
                store.put(key, b"", mode="create")
                is_once = False
            except AlreadyExistsError:
                is_once = True
        finally:
            with suppress(BaseError, OSError):
                store.delete(key)
    except (BaseError, OSError, ValueError) as error:
        yield Finding("storage", "failed", f"{url} cannot be used: {reason(error)}", MEND)
        return
    speeds = {"write_mib_s": num_bytes / MIB / (written - started), "read_mib_s": size / MIB / (ended - written)}
    shown = f"{url}: {speeds['write_mib_s']:.0f} MiB/s written, {speeds['read_mib_s']:.0f} MiB/s read"
    if is_once:
        yield Finding("storage", "ok", f"{shown}; it refuses to replace what is to be written once", values=speeds)
    else:
        seen = f"{shown}, but it replaces what is to be written once: two publishers could get one number"
        yield Finding("storage", "failed", seen, "Use a bucket with conditional writes (If-None-Match).", values=speeds)
