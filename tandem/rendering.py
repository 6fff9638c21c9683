"""`tandem render`: the manifests and the Serve config that a cluster takes, written from the project file.

Whoever has these needs nothing more of ours: `kubectl apply -f`, `serve deploy` and `ray job submit` take them as they
are. The files in k8s/base are written by these commands, from k8s/base/tandem.yaml.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
import yaml

from cluster.errors import TandemError
from cluster.manifests.kuberay import PROJECT_FILE, Pods, Target, ray_cluster, ray_job, ray_service
from cluster.storage.files import write_atomically
from tandem.console import Console
from tandem.options import DEFAULT, AsJson, ProjectFile
from tandem.project.project import Project, load

render_app = typer.Typer(
    help="Manifests for KubeRay and a config for Ray Serve, written from the project file.", no_args_is_help=True
)
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file, not to standard output.")]
Image = Annotated[str | None, typer.Option(help="The image of the pods. Default: tandem:VERSION-cpu, or -gpu.")]
Namespace = Annotated[str, typer.Option(help="The namespace.")]
Claim = Annotated[str, typer.Option(help="The PersistentVolumeClaim that is mounted at /mnt/tandem.")]
Cpus = Annotated[int, typer.Option(min=1, help="CPUs of a worker pod.")]
Memory = Annotated[int, typer.Option(min=2, help="Memory of a worker pod, in GiB.")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of a worker pod.")]
NumPods = Annotated[int | None, typer.Option("--pods", min=1, help="Number of worker pods.")]
OnCluster = Annotated[str, typer.Option("--project-path", help="Where pods have the project file.")]


class _Blocks(yaml.SafeDumper):
    """A text of several lines stands as it is, in a block."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Blocks.add_representer(str, _Blocks.represent_str)


@dataclass(frozen=True)
class Rendered:
    """A document, and what to do with it."""

    document: dict[str, Any]
    hint: str


@render_app.command("rayjob")
def rayjob(
    image: Image = None,
    namespace: Namespace = "tandem",
    storage_claim: Claim = "tandem-storage",
    queue: Annotated[str | None, typer.Option(help="Kueue's LocalQueue that it waits in.")] = None,
    cpus: Cpus = 4,
    memory_gib: Memory = 16,
    gpus: Gpus = 0,
    pods: NumPods = None,
    deadline_h: Annotated[float, typer.Option(min=0.1, help="Hours after which it is ended.")] = 24.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that did not end.")] = False,
    project_path: OnCluster = PROJECT_FILE,
    output: Output = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """A RayJob that trains as the project says, on a cluster of its own."""
    project, shape = load(config), Pods(cpus, memory_gib, gpus)
    target = Target(image or _image(gpus), namespace, storage_claim, queue=queue)
    num = pods or math.ceil(project.training.workers.max / (gpus or cpus))
    _check_room(project, num, shape)
    command = f"python -P -m tandem train{' --resume' if resume else ''} -c {_absolute(project_path)}"
    document = ray_job(target, shape, num, command, int(deadline_h * 3600))
    _write(Rendered(document, "kubectl create -f FILE, then kubectl logs -f job/tandem-train"), output, as_json)


@render_app.command("rayservice")
def rayservice(
    image: Image = None,
    namespace: Namespace = "tandem",
    storage_claim: Claim = "tandem-storage",
    cpus: Cpus = 8,
    memory_gib: Memory = 16,
    gpus: Gpus = 0,
    project_path: OnCluster = PROJECT_FILE,
    output: Output = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """A RayService that serves the project; as many worker pods as its engines need."""
    project, target = load(config), Target(image or _image(gpus), namespace, storage_claim)
    serving = project.serving
    _check_host(serving.host)
    document = ray_service(
        target, Pods(cpus, memory_gib, gpus), num_serving_pods(project, gpus),
        yaml.safe_dump(serve_config(project, project_path), sort_keys=False),
        serving.port, math.ceil(serving.request_timeout_s), math.ceil(serving.drain_s),
    )  # fmt: skip
    _write(Rendered(document, "kubectl apply -f FILE, then kubectl get rayservice -w"), output, as_json)


@render_app.command("raycluster")
def raycluster(
    image: Image = None,
    namespace: Namespace = "tandem",
    storage_claim: Claim = "tandem-storage",
    cpus: Cpus = 8,
    memory_gib: Memory = 16,
    gpus: Gpus = 0,
    pods: NumPods = None,
    output: Output = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """A standing RayCluster, which `cluster.address: http://tandem-cluster-head-svc:8265` submits to."""
    load(config)
    target = Target(image or _image(gpus), namespace, storage_claim)
    document = ray_cluster(target, Pods(cpus, memory_gib, gpus), pods or 1)
    _write(Rendered(document, "kubectl apply -f FILE"), output, as_json)


@render_app.command("serve-config")
def serve_config_file(
    project_path: Annotated[
        Path | None, typer.Option("--project-path", help="Where the nodes have the project file. Default: here.")
    ] = None,
    output: Output = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """The file for `serve deploy`, as `tandem serve --write-config` writes it."""
    document = serve_config(load(config), str(project_path or config.resolve()))
    _write(Rendered(document, "serve deploy FILE, with RAY_AUTH_MODE=token and the cluster's token"), output, as_json)


@render_app.command("check")
def check_files(
    files: Annotated[list[Path], typer.Argument(help="Rendered manifests that are applied together; - reads them.")],
    crds: Annotated[
        Path | None, typer.Option(envvar="TANDEM_CRDS", help="A folder with the schemas of custom resources.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rendered manifests against every rule that is known without a cluster; exit code 2 where one is broken."""
    from cluster.manifests.bundle import Bundle
    from tandem.manifest_check import check

    bundle = Bundle.read("\n---\n".join(map(_text, files)), ", ".join(map(str, files)))
    found, console = check(bundle, crds), Console(as_json)
    told = "\n".join(map(str, found)) or f"{len(bundle.manifests)} objects, and nothing is wrong with them."
    console.result(told, [asdict(one) for one in found])
    if found:
        console.hint("mend what is named, then run it again.")
        raise typer.Exit(2)
    console.hint("kubectl apply --server-side --dry-run=server -k FOLDER asks your cluster the same.")


def serve_config(project: Project, project_path: str) -> dict[str, Any]:
    """Ray Serve's config of the endpoint; the nodes have the project file at `project_path`."""
    from tandem.endpoint import config_of

    return config_of(project, _absolute(project_path))


def num_serving_pods(project: Project, gpus: int) -> tuple[int, int]:
    """Fewest and most pods for the engines of all base models; on a CPU each engine has a pod to itself.

    Raises:
        TandemError: an engine takes more GPUs than a pod has.
    """
    from serving.engine.engine_args import num_devices

    serving, devices = project.serving, num_devices(project.serving)
    if gpus and devices > gpus:
        raise TandemError(
            f"An engine takes {devices} GPUs, and a pod has {gpus}.",
            "A pod with the GPUs of at least one engine.",
            f"Render with `--gpus {devices}`, or lower tensor_parallel_size in `serving.engine_kwargs`.",
        )
    num_bases, each = max(1, len(serving.models)), max(1, gpus // devices) if gpus else 1
    fewest, most = (math.ceil(num_bases * number / each) for number in (serving.num_replicas.min,
                                                                         serving.num_replicas.max))  # fmt: skip
    return max(1, fewest), max(1, most)


def _write(rendered: Rendered, output: Path | None, as_json: bool) -> None:
    console = Console(as_json)
    plain = json.loads(json.dumps(rendered.document))  # the same value twice would become an anchor and an alias
    text = yaml.dump(plain, Dumper=_Blocks, sort_keys=False, width=110)
    if output:
        write_atomically(output, text)
        console.result(str(output), {"file": str(output), "document": rendered.document})
    else:
        console.result(text.rstrip("\n"), rendered.document)
    console.hint(rendered.hint.replace("FILE", str(output or "FILE")))


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TandemError(
            f"{file} cannot be read ({error}).",
            "A file with manifests, or - for standard input.",
            "Check the path; `kubectl kustomize k8s/overlays/dev | tandem render check -` needs no file.",
        ) from error


def _image(gpus: int) -> str:
    return f"tandem:{version('tandem')}-{'gpu' if gpus else 'cpu'}"


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise TandemError(
            f"The project file is to be at {path} on the cluster.",
            "An absolute path, which every pod or node has.",
            f"Leave --project-path out for {PROJECT_FILE}, which the manifests mount.",
        )
    return path


def _check_room(project: Project, num_pods: int, pods: Pods) -> None:
    """A training whose workers never find room would wait until its deadline."""
    wanted, slots = project.training.workers.min, num_pods * (pods.gpus or pods.cpus)
    if wanted > slots:
        raise TandemError(
            f"`training.workers` asks for {wanted} workers, and {num_pods} pods have room for {slots}.",
            "A GPU for each worker, or a CPU where there are none.",
            "Raise --pods, --gpus or --cpus, or lower `training.workers`.",
        )


def _check_host(host: str) -> None:
    """A pod's own loopback address is reached by nobody else, nor by the probe that makes the pod ready."""
    from serving.deploy.run import is_loopback

    if is_loopback(host):
        raise TandemError(
            f"serving.host is {host}: no other pod could reach the endpoint.",
            "0.0.0.0, with at least one API key.",
            "Set `serving: {host: 0.0.0.0}`; keys are made with `tandem keys create NAME`.",
        )
