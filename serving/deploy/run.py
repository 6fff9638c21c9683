"""Start the endpoint inside an open Ray session, and end it with everything it started.

with ray_session(cluster), running_endpoint(config, model, storage, retrieval, uri, print) as url:
    ask(connect(url), "base", "...")
"""

import ipaddress
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model, find_model
from cluster.gpu_requirements import find_fault
from cluster.hardware import Hardware, read_gpus, read_hardware
from cluster.registry.mirror import Mirror
from cluster.storage.storage import Storage
from retrieval.config import RetrievalConfig
from serving.access.keys import follow_keys
from serving.config import ServingConfig
from serving.deploy.serve_options import BaseSource
from serving.engine.engine_args import check_settings
from serving.engine.limits import start_timeout_s
from serving.engine.lora_support import supports_adapters
from serving.engine.model_files import ModelFiles, read_model_files
from serving.engine.packing import reserved_gpus
from serving.engine.sharing import GpuShare, share_gpus

if TYPE_CHECKING:
    from ray.serve import Application


APP = "tandem"
POLL_S = 0.2
PROGRESS_EVERY_S = 5.0
GPU_FREE_S = 30.0
GPU_SLACK_BYTES = 2**30


def validate_serving(
    config: ServingConfig,
    model: str,
    has_keys: bool = False,
    hardware: Hardware | None = None,
    retrieves: bool = False,
) -> None:
    """What can be known to fail before anything is started.

    Args:
        hardware: what will serve; None where it is not known yet, as on a cluster that is not connected.
        retrieves: whether retrievers run beside the engines, which may take GPUs (`serving.gpus_per_retriever`).

    Raises:
        TandemError: the port is taken, a model folder holds no model, two settings contradict each other, the hardware
            cannot run the settings or hold the models, or others than this machine would be let in without a key.
    """
    if not has_keys and not is_loopback(config.host):
        raise TandemError(
            f"serving.host is {config.host}, and there are no API keys: anybody who reaches it could ask.",
            "An address of this machine alone (127.0.0.1), or at least one key.",
            "Make one with `tandem keys create NAME`, or remove serving.host.",
        )
    _check_port(config.host, config.port)
    if len(config.preload) > config.max_loaded_adapters:
        raise TandemError(
            f"serving.preload names {len(config.preload)} adapters.",
            f"At most {config.max_loaded_adapters} (`serving.max_loaded_adapters`).",
            "Raise the limit, or name fewer.",
        )
    for original in config.copy_of.values():
        find_model(original)
    models = {name: read_model_files(source) for name, source in base_models(config, model).items()}
    check_settings(
        config, hardware, has_adapters=any(supports_adapters(files.architectures) for files in models.values())
    )
    if hardware:
        if fault := find_fault(hardware):
            raise fault
        plan_gpus(config, models, hardware, retrieves)


@contextmanager
def running_endpoint(
    config: ServingConfig,
    model: str,
    storage: Storage,
    retrieval: RetrievalConfig | None,
    milvus_uri: str | None,
    on_progress: Callable[[str], None],
    keys: Path | None = None,
    being_checked: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """The URL (with /v1) of an endpoint that answers; it is shut down when the block ends.

    `keys` is a folder of API keys, one of which every request must carry; None asks for none. Without `retrieval` and
    `milvus_uri` it serves no collections. `being_checked` is that of `make_application`.
    Raises TandemError: what `validate_serving` raises, or the endpoint did not become ready (with the reason).
    """
    retrieves = bool(retrieval and milvus_uri)
    validate_serving(config, model, has_keys=keys is not None, hardware=read_hardware(), retrieves=retrieves)
    from ray import serve
    from ray.serve.schema import LoggingConfig

    app = make_application(config, model, storage, retrieval, milvus_uri, keys, True, being_checked)
    _check_that_serve_is_free()
    used_before = _used_gpu_bytes()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    try:
        serve.start(proxy_location="Disabled", logging_config=quiet)
        target = serve.RunTarget(app, name=APP, route_prefix=None, logging_config=quiet)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        url = config.own_url
        _wait_until_ready(url, seconds_to_start(config, model), on_progress)
        yield f"{url}/v1"
    finally:
        serve.shutdown()
        _wait_for_gpus(used_before)


def make_application(
    config: ServingConfig,
    model: str,
    storage: Storage,
    retrieval: RetrievalConfig | None,
    milvus_uri: str | None,
    keys: Path | None,
    here: bool = False,
    being_checked: frozenset[str] = frozenset(),
) -> "Application":
    """What is deployed, for the open Ray session's hardware. With `here` this machine takes the requests.

    `being_checked` has the engine's ids of versions that are served on a copy of their base for their parity check.

    Raises TandemError as `running_endpoint` does.
    """
    # It imports Ray Serve, which must not happen before a Ray session has set Ray's environment.
    from serving.deploy.app import build_app

    if url := config.adapter_registry or storage.adapters_url:
        Mirror(url, storage.adapters).pull()
    if keys and storage.keys_url:
        follow_keys(storage.keys_url, keys)
    bases = {name: _base(name, source, config) for name, source in base_models(config, model).items()}
    hardware = read_hardware()
    files = {name: base.files for name, base in bases.items()}
    shares = plan_gpus(config, files, hardware, retrieves=bool(retrieval and milvus_uri))
    node = _own_node() if here else None
    return build_app(config, bases, storage, retrieval, milvus_uri, hardware, shares, keys, node, being_checked)


def base_models(config: ServingConfig, model: str) -> dict[str, str]:
    """The base models by name; `base` is the project's where none are named."""
    return dict(config.models) or {"base": model}


def plan_gpus(
    config: ServingConfig, models: Mapping[str, ModelFiles], hardware: Hardware, retrieves: bool
) -> dict[str, GpuShare]:
    """What the engines of each base model take of a GPU, beside retrievers that compute on one.

    Raises:
        TandemError: GPUs or their memory do not suffice: engines or retrievers would wait for ever.
    """
    reserved = reserved_gpus(config) if retrieves else 0.0
    if reserved and hardware.most_gpus <= reserved:
        raise TandemError(
            f"`serving.gpus_per_retriever` is {config.gpus_per_retriever:g}: retrievers need {reserved:g} GPUs, and "
            f"the cluster has {hardware.most_gpus} for them and the engines.",
            "GPUs that leave room for an engine; 0 embeds questions and reranks on a CPU.",
            "Remove `serving.gpus_per_retriever`, set `serving.num_retrievers` to fewer, or add GPUs to the cluster.",
        )
    return share_gpus(config, models, hardware, reserved)


def seconds_to_start(config: ServingConfig, model: str) -> float:
    """Seconds until the endpoint must be ready: as set, or by the size of all base models."""
    sizes = [read_model_files(source).weights_bytes for source in base_models(config, model).values()]
    return start_timeout_s(config, len(sizes), None if None in sizes else sum(size or 0 for size in sizes))


def _used_gpu_bytes() -> int:
    """Memory that is taken on the GPUs of this machine; other machines' GPUs are not looked at."""
    try:
        return sum(gpu.used_bytes for gpu in read_gpus())
    except TandemError:  # what the endpoint itself ran into says more
        return 0


def _wait_for_gpus(used_before: int) -> None:
    """What comes next may be a training on the same GPU: an engine's process gives its memory back as it ends."""
    deadline = time.monotonic() + GPU_FREE_S
    while _used_gpu_bytes() > used_before + GPU_SLACK_BYTES and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _check_that_serve_is_free() -> None:
    """What runs on a cluster already would be replaced, and ended with ours."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return
    raise TandemError(
        "Ray Serve runs on this cluster already.",
        "A cluster on which nothing else is served.",
        "Use another cluster for this command, or end what is served with `serve shutdown`.",
    )


def _base(name: str, source: str, config: ServingConfig) -> BaseSource:
    digest = digest_model(source)  # of a hub id it fetches config.json, which the next line reads
    files, original = read_model_files(source), config.copy_of.get(name)
    has_adapters = config.adapters and supports_adapters(files.architectures)
    return BaseSource(source, digest, files, has_adapters, digest_model(original) if original else None)


def _own_node() -> str | None:
    """Ray's resource of this machine, where a cluster has other ones too."""
    import ray

    name = f"node:{ray.util.get_node_ip_address()}"
    return name if len(ray.nodes()) > 1 and name in ray.cluster_resources() else None


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TandemError(
                f"Port {port} on {host} cannot be used: {error.strerror}.",
                "A free port on an address of this machine.",
                "Set serving.port to another, or stop what listens there.",
            ) from error


def _wait_until_ready(url: str, limit_s: float, on_progress: Callable[[str], None]) -> None:
    from ray import serve

    started, last_progress = time.monotonic(), 0.0
    while True:
        seconds = time.monotonic() - started
        app = serve.status().applications.get(APP)
        if app and app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            failed = [one.message for one in app.deployments.values() if one.status not in ("HEALTHY", "UPDATING")]
            raise _not_started("\n".join(failed) or app.message)
        if app and app.status == "RUNNING" and _is_healthy(url):
            return
        if seconds > limit_s:
            raise _not_started(f"it was not ready after {limit_s:g} s")
        if seconds - last_progress >= PROGRESS_EVERY_S:
            last_progress = seconds
            waiting = [name for name, one in app.deployments.items() if one.status != "HEALTHY"] if app else []
            on_progress(f"serving: {seconds:.0f} s, waiting for {', '.join(waiting) or 'the first answer'}")
        time.sleep(POLL_S)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _not_started(reason: str) -> TandemError:
    """Serve's reason is a traceback; its last line says what happened."""
    lines = [line.strip() for line in reason.strip().splitlines()]
    cause = next((line for line in reversed(lines) if line and not line.startswith("For further information")), "")
    cause = cause[:2000].removeprefix("serving.engine.engine.EngineNotStarted: ").rstrip(".")
    return TandemError(
        f"The endpoint did not start: {cause}.",
        "A model that vLLM can load with the memory of this machine.",
        "Correct what the message names; the whole of it is in Ray's log folder, under session_latest/logs/serve.",
    )
