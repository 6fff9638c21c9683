"""A publisher of its own process: `python -m tests.cluster.publisher STORE-URL FOLDER ADAPTER COUNT [NUM-FILES]`.

Prints the number of each version that it has published.
"""

import sys
from pathlib import Path

from cluster.registry.registry import Registry
from cluster.storage.buckets import open_bucket
from tests.cluster.registry.test_registry import FIELDS


def main(url: str, folder: str, name: str, count: str, num_files: str = "2") -> None:
    registry = Registry(Path(folder) / "cache", open_bucket(url))
    staging = Path(folder) / "staging"
    staging.mkdir(parents=True)
    for number in range(int(count)):
        for file in range(int(num_files)):
            (staging / f"part-{file}.bin").write_bytes(f"{folder} {number} {file}".encode() * 500)
        print(registry.publish(name, staging, promote=False, **FIELDS).version, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
