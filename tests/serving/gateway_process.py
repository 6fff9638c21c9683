"""The real gateway over an engine that takes a fixed time, with a Ray of its own in a process of its own.

python -m tests.serving.gateway_process PORT KEYS_FOLDER SECONDS      # until its standard input is closed
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY = "ready"


@contextmanager
def gateway_process(port: int, keys: Path, work_s: float) -> Iterator[str]:
    """Its URL (with /v1)."""
    command = [sys.executable, "-m", "tests.serving.gateway_process", str(port), str(keys), str(work_s)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin
        assert any(line.strip() == READY for line in process.stdout), f"it ended with {process.wait()}"
        yield f"http://127.0.0.1:{port}/v1"
        process.stdin.close()


def main(port: int, keys: Path, work_s: float) -> None:
    from benchmarks.instant_engine import Work, gateway_only
    from cluster.config import ClusterConfig
    from cluster.session import ray_session
    from serving.config import ServingConfig

    with ray_session(ClusterConfig()), gateway_only(ServingConfig(port=port), keys, work=Work(work_s)):
        print(READY, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
