"""A Ray session: a Ray on this machine that leaves nothing behind, or a cluster that is already there.

`check_reachable` tries the address first, because Ray waits for ever where nobody listens. `serve_log_kept` keeps
Serve's log of a replica where a library sets up logging for itself: vLLM and pymilvus call `logging.config.dictConfig`
when they are imported. It closes every handler of the process, and Serve's then has no file any more. Not only is what
Serve writes lost: after the loss of a head its new controller asks each replica for the name of that file, takes the
error for a replica that is ill, and stops it (read in Ray 2.60).
"""

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster import interrupts
from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.full_disk import explain_full_disk

# Set before Ray is imported. Nothing is sent out; workers run at the priority of the command that waits for them (Ray's
# default of 15 starves an endpoint as soon as anything else runs).
# Ray Train looks at its workers every half second instead of every two: a report waits for the next look, so a training
# with checkpoints close together stands still for it, and a killed worker is found that much later.
# Ray and nvidia-smi count GPUs in the order of the PCI bus; CUDA's own order is the fastest first.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}

IN_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray for the driver of a job (ray/_private/runtime_env/constants.py)."""


@contextmanager
def ray_session(config: ClusterConfig) -> Iterator[None]:
    """Open Ray, and close it when the block ends however it ends.

    Raises:
        TandemError: the cluster at `config.address` does not answer, or a local Ray does not start.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["CUDA_DEVICE_ORDER"] = ENVIRONMENT["CUDA_DEVICE_ORDER"]  # another order is never that of Ray
    address = _address(config)
    check_reachable(address)
    import ray

    if ray.is_initialized():
        raise RuntimeError("This process has a Ray session already, and a second one would end it.")
    try:
        with interrupts.deferred():  # else daemons would be left that Ray has started and does not know yet
            _start_ray(address, config)
        yield
    finally:
        with interrupts.deferred():
            ray.shutdown(wait_for_processes=True)


def _start_ray(address: str, config: ClusterConfig) -> None:
    """Raises TandemError where Ray does not start, or no cluster answers."""
    import ray

    try:
        with _own_signal_handlers():
            if address == "local":
                ray.init(
                    address="local", num_cpus=config.num_cpus, include_dashboard=False, log_to_driver=False,
                    logging_level=logging.ERROR, configure_logging=True, _metrics_export_port=config.metrics_port,
                )  # fmt: skip
            else:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        temporary = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
        remedy = "Make room there, or set the environment variable RAY_TMPDIR to a folder on another disk."
        raise explain_full_disk(error, temporary, remedy) or _not_started(address, error) from error
    _keep_standard_output_clean()


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep what this process does at SIGTERM: Ray's own handlers end it at once, with nothing cleaned up.

    Ray 2.60 has no setting for it. It sets a handler before it starts its daemons, and another one, in C++, when it
    connects to them. SIGTERM waits for that long; not for longer, since the daemons inherit what is blocked.
    """
    import ray._private.utils as utils
    import ray._private.worker as driver

    set_handler, connect = utils.set_sigterm_handler, driver.connect
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]

    def connect_and_restore(*args: Any, **options: Any) -> Any:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return connect(*args, **options)
        finally:
            for number, handler in handlers:
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    utils.set_sigterm_handler, driver.connect = lambda handler: None, connect_and_restore
    try:
        yield
    finally:
        utils.set_sigterm_handler, driver.connect = set_handler, connect


def _not_started(address: str, error: Exception) -> TandemError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if address == "local":
        return TandemError(
            f"Ray did not start on this machine ({reason.rstrip('.')}).",
            "A machine with memory and a processor to spare, and a folder for temporary files (RAY_TMPDIR).",
            "End what else runs on it, and run the command again.",
        )
    return TandemError(
        f"No Ray cluster answers at {address!r} ({reason}).",
        "`local`, `auto`, or the address of a running cluster.",
        "Set `cluster.address`, or start the cluster.",
    )


def is_in_job() -> bool:
    """Whether this process was started by a Ray job; Ray says so to a job's driver only."""
    return IN_JOB in os.environ


def _address(config: ClusterConfig) -> str:
    """A job runs on the cluster that it was submitted to, whatever address its project file has for those outside.

    Raises:
        TandemError: the address takes jobs and nothing else.
    """
    if is_in_job():
        return "auto"
    if config.address.startswith(("http://", "https://")):
        raise TandemError(
            f"cluster.address is {config.address}: that takes jobs, and this command would run here.",
            "`local`, `auto`, or the ray:// address of a running cluster.",
            "Add --submit to train, index or compare there, or `-c` a project file with another `cluster.address`.",
        )
    return config.address


def metrics_urls() -> list[str]:
    """Where Prometheus finds the metrics of each node, inside an open session."""
    import ray

    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()
        if node["Alive"]
    ]


def _keep_standard_output_clean() -> None:
    """Ray's driver prints what its daemons report on standard output, where a command's result belongs.

    Ray 2.60 has no setting for it (`log_to_driver` covers workers only), so the function that prints is replaced.
    """
    import ray._private.worker as driver

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray").warning("%s: %s", data["pid"], " ".join(data["lines"]))

    driver.print_to_stdstream = log


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


SERVE_LOGGER = "ray.serve"


@contextmanager
def serve_log_kept() -> Iterator[None]:
    """For the block in which such a library is imported."""
    handlers = [handler for handler in logging.getLogger(SERVE_LOGGER).handlers if isinstance(handler, MemoryHandler)]
    targets = [handler.target for handler in handlers]
    try:
        yield
    finally:
        for handler, target in zip(handlers, targets, strict=True):
            handler.setTarget(target)
