"""`tandem render`: the manifests and the Serve config that a cluster takes, written from the project file.

Who has these needs nothing more of ours: `kubectl apply -f`, `serve deploy` and `ray job submit` take them as they
are. The files in k8s/base are written by these commands, from k8s/base/tandem.yaml.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
import yaml

from cluster.errors import TandemError
from cluster.jobs.wheel import package_version
from cluster.manifests.kuberay import PROJECT_FILE, Pods, Target, ray_cluster, ray_job, ray_service
from cluster.storage.files import write_atomically
from serving.deploy.run import is_loopback
from serving.engine.packing import gpu_demand, retriever_gpus
from serving.engine.parallel import num_devices
from tandem.commands.options import DEFAULT, AsJson, ProjectFile, with_option_groups
from tandem.console import Console
from tandem.deployment import serve_config
from tandem.project.project import Project, load
from training.config import AutoWorkers, WorkerRange

Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead of standard output.")]
Cpus = Annotated[int, typer.Option(min=1, help="CPUs of a worker pod.")]
NumPods = Annotated[int | None, typer.Option("--pods", min=1, help="Number of worker pods.")]
MinPods = Annotated[
    int | None,
    typer.Option(
        "--min-pods", min=0, help="Worker pods that are always there; the autoscaler starts the others. Default: all."
    ),
]
_RESOURCE = re.compile(r"[a-z0-9.-]+/[A-Za-z0-9][A-Za-z0-9._-]*")
OnCluster = Annotated[str, typer.Option("--project-path", help="Where pods have the project file.")]


@dataclass(frozen=True)
class ManifestOptions:
    """The options of every manifest of KubeRay: where it goes, its pods, and how it is written."""

    image: Annotated[str | None, typer.Option(help="The image of the pods. Default: tandem:VERSION-cpu, or -gpu.")] = (
        None
    )
    namespace: Annotated[str, typer.Option(help="The namespace.")] = "tandem"
    storage_claim: Annotated[str, typer.Option(help="The PersistentVolumeClaim that is mounted at /mnt/tandem.")] = (
        "tandem-storage"
    )
    cpus: Cpus = 8
    memory_gib: Annotated[int, typer.Option(min=2, help="Memory of a worker pod, in GiB.")] = 16
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a worker pod.")] = 0
    rdma: Annotated[
        str | None,
        typer.Option(metavar="NAME[=N]", help="Resource of the RDMA device plugin, such as rdma/hca_shared_devices_a."),
    ] = None
    network: Annotated[str, typer.Option(help="Network attachment (Multus) of the worker pods.")] = ""
    output: Output = None
    config: ProjectFile = DEFAULT
    as_json: AsJson = False

    @property
    def pods(self) -> Pods:
        return Pods(self.cpus, self.memory_gib, self.gpus, read_rdma(self.rdma), self.network)

    def target(self, queue: str | None = None) -> Target:
        image = self.image or f"tandem:{package_version()}-{'gpu' if self.gpus else 'cpu'}"
        return Target(image, self.namespace, self.storage_claim, queue=queue)


@dataclass(frozen=True)
class RayJobOptions(ManifestOptions):
    """A training takes smaller pods than an endpoint."""

    cpus: Cpus = 4


@with_option_groups
def render_ray_job(
    queue: Annotated[str | None, typer.Option(help="The LocalQueue of Kueue that the job waits in.")] = None,
    num_pods: NumPods = None,
    min_pods: MinPods = None,
    deadline_h: Annotated[float, typer.Option(min=0.1, help="Hours after which the job is ended.")] = 24.0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the last interrupted training.")] = False,
    project_path: OnCluster = PROJECT_FILE,
    *,
    options: RayJobOptions,
) -> None:
    """Write a RayJob that trains on a cluster made for it.

    The job trains as the project file says.
    """
    project = load(options.config)
    workers = _workers_in_pods(project, options.pods)
    number = num_pods or math.ceil(workers.max / (options.gpus or options.cpus))
    _check_room(project, number, options.pods)
    _check_scale(min_pods, number, queue)
    command = f"python -P -m tandem train{' --resume' if resume else ''} -c {_absolute(project_path)}"
    document = ray_job(options.target(queue), options.pods, number, command, int(deadline_h * 3600), min_pods)
    hint = "kubectl create -f FILE, then kubectl logs -f job/tandem-train"
    _write(document, hint, options.output, options.as_json)


@with_option_groups
def render_ray_service(project_path: OnCluster = PROJECT_FILE, *, options: ManifestOptions) -> None:
    """Write a RayService that serves the project.

    It has as many worker pods as the project's engines need.
    """
    project = load(options.config)
    serving = project.serving
    _check_host(serving.host)
    document = ray_service(
        options.target(), options.pods, num_serving_pods(project, options.gpus),
        yaml.safe_dump(serve_config(project, _absolute(project_path)), sort_keys=False),
        serving.port, math.ceil(serving.request_timeout_s), math.ceil(serving.drain_s),
    )  # fmt: skip
    _write(document, "kubectl apply -f FILE, then kubectl get rayservice -w", options.output, options.as_json)


@with_option_groups
def render_ray_cluster(num_pods: NumPods = None, min_pods: MinPods = None, *, options: ManifestOptions) -> None:
    """Write a RayCluster that stays and takes jobs.

    Set `cluster.address: http://tandem-cluster-head-svc:8265` to submit to it.
    """
    load(options.config)
    _check_scale(min_pods, num_pods or 1)
    document = ray_cluster(options.target(), options.pods, num_pods or 1, min_pods)
    _write(document, "kubectl apply -f FILE", options.output, options.as_json)


def render_serve_config(
    project_path: Annotated[
        Path | None, typer.Option("--project-path", help="Where the nodes have the project file. Default: here.")
    ] = None,
    output: Output = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write the file for `serve deploy`.

    `tandem serve --write-config` writes the same file.
    """
    document = serve_config(load(config), _absolute(str(project_path or config.resolve())))
    _write(document, "serve deploy FILE, with RAY_AUTH_MODE=token and the cluster's token", output, as_json)


def read_rdma(text: str | None) -> tuple[str, int] | None:
    """The name of a device plugin's resource and how many of it, from NAME or NAME=N; None for None.

    Raises:
        TandemError: it is not of that form.
    """
    if text is None:
        return None
    name, sign, number = text.partition("=")
    if not _RESOURCE.fullmatch(name) or (sign and not re.fullmatch("[1-9][0-9]*", number)):
        raise TandemError(
            f"--rdma is {text!r}.",
            "The resource of a device plugin, with its number where it is not 1: `rdma/hca_shared_devices_a`, "
            "`vpc.amazonaws.com/efa=32`.",
            "See what the nodes offer with `kubectl describe node NODE`, under Allocatable.",
        )
    return name, int(number or 1)


def num_serving_pods(project: Project, gpus: int) -> tuple[int, int]:
    """Fewest and most pods for the engines of all base models; on a CPU each engine has a pod to itself.

    Raises:
        TandemError: an engine takes more GPUs than a pod has.
    """
    serving, devices = project.serving, num_devices(project.serving)
    if gpus and devices > gpus:
        raise TandemError(
            f"An engine takes {devices} GPUs, and a pod has {gpus}.",
            "A pod with the GPUs of at least one engine.",
            f"Render with `--gpus {devices}`, or lower tensor_parallel_size in `serving.engine_kwargs`.",
        )
    if project.retrieves and retriever_gpus(serving) and not gpus:
        raise TandemError(
            f"`serving.gpus_per_retriever` is {serving.gpus_per_retriever:g}, and the pods have no GPU.",
            "Pods with a GPU; 0 embeds questions and reranks on a CPU.",
            "Render with `--gpus`, or remove `serving.gpus_per_retriever`.",
        )
    fewest, most = (
        gpu_demand(serving, project.retrieves, number).num_pods(gpus)
        for number in (serving.num_replicas.min, serving.num_replicas.max)
    )
    return fewest, most


class _Blocks(yaml.SafeDumper):
    """A text of several lines is written as it is, in a block."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Blocks.add_representer(str, _Blocks.represent_str)


def _write(document: dict[str, Any], hint: str, output: Path | None, as_json: bool) -> None:
    """Write a document to a file or to standard output; `hint` says what to do with FILE."""
    console = Console(as_json)
    plain = json.loads(json.dumps(document))  # the same value twice would become an anchor and an alias
    text = yaml.dump(plain, Dumper=_Blocks, sort_keys=False, width=110)
    if output:
        write_atomically(output, text)
        console.result(str(output), {"file": str(output), "document": document})
    else:
        console.result(text.rstrip("\n"), document)
    console.hint(hint.replace("FILE", str(output or "FILE")))


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise TandemError(
            f"The project file is to be at {path} on the cluster.",
            "An absolute path, which every pod or node has.",
            f"Leave --project-path out for {PROJECT_FILE}, which the manifests mount.",
        )
    return path


def _workers_in_pods(project: Project, pods: Pods) -> WorkerRange:
    """Automatic workers fill the GPUs of however many pods there are."""
    workers = project.training.workers
    is_filling = pods.gpus and isinstance(workers, AutoWorkers)
    return WorkerRange(min=1, max=1) if is_filling else workers


def _check_room(project: Project, num_pods: int, pods: Pods) -> None:
    """A training whose workers never find room would wait until its deadline."""
    num_workers, slots = _workers_in_pods(project, pods).min, num_pods * (pods.gpus or pods.cpus)
    if num_workers > slots:
        raise TandemError(
            f"`training.workers` asks for {num_workers} workers, and {num_pods} pods have room for {slots}.",
            "A GPU for each worker, or a CPU where there are none.",
            "Raise --pods, --gpus or --cpus, or lower `training.workers`.",
        )


def _check_scale(min_pods: int | None, num_pods: int, queue: str | None = None) -> None:
    if min_pods is None:
        return
    if min_pods > num_pods:
        raise TandemError(
            f"--min-pods is {min_pods}, and there are {num_pods} pods at most.",
            "No more pods than --pods.",
            "Lower --min-pods, or raise --pods.",
        )
    if queue:
        raise TandemError(
            f"--min-pods lets the number of pods change, and the queue {queue} takes jobs of a fixed size only.",
            "Either of the two.",
            "Leave --min-pods or --queue out.",
        )


def _check_host(host: str) -> None:
    """A pod's own loopback address is reached by nobody else, nor by the probe that makes the pod ready."""
    if is_loopback(host):
        raise TandemError(
            f"serving.host is {host}: no other pod could reach the endpoint.",
            "0.0.0.0, with at least one API key.",
            "Set `serving: {host: 0.0.0.0}`; keys are made with `tandem keys create NAME`.",
        )
