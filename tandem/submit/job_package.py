"""A project made ready for a cluster: what is sent, what stays here, what runs, and what it needs there.

job = prepare_job(load(Path("tandem.yaml")), "train")
write_package(job, Path("folder"))    # the same for `ray job submit`
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.hardware import Hardware
from cluster.jobs.demand import Phase
from cluster.jobs.job_archive import JobArchive, PackedFile, pack_files
from cluster.jobs.jobs import OURS, Submission, new_job_id, runtime_env
from cluster.jobs.wheel import Wheel, build_wheel
from evaluation.arms import ARMS_OF
from retrieval.sources.parsing.formats import SUFFIXES
from serving.config import ServingConfig
from serving.deploy.serve_options import engine_options, gateway_options, retriever_options
from serving.engine.packing import GpuDemand, equal_share, left_for_engines, reserved_gpus
from serving.engine.parallel import num_devices
from serving.engine.sharing import GpuShare
from tandem.project.portable import PROJECT_FILE, PackedProject, packed_project, scalars
from tandem.project.project import Project
from training.plan.placement import resolve_workers, training_kind
from training.publish.publish import result_kind

_DRIVER_CPUS = 1.0
"""The driver reads, embeds and asks: it is kept off heads that are given no CPUs so that nothing computes there."""

_PASSWORD = re.compile(r"://[^:@/\s]*:(?!\$\{)[^@/\s]+@")
_JOB, _WORKING_DIR = "job.json", "working_dir"


@dataclass(frozen=True)
class PreparedJob:
    """One verb of one project, ready to be submitted or written."""

    project: Project
    verb: str
    arguments: tuple[str, ...]
    packed: PackedProject
    package: JobArchive

    @cached_property
    def wheel(self) -> Wheel:
        return build_wheel()

    @property
    def entrypoint(self) -> str:
        """`-P`: nothing of the user's is on the path, whatever its name."""
        return shlex.join(["python", "-P", "-m", "tandem", self.verb, *self.arguments, "-c", PROJECT_FILE])

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the environment variables that the job reads: those in the file, and those of stores and APIs."""
        retrieval = self.project.retrieval if self.verb != "train" else None
        reads = {
            "MILVUS_TOKEN": retrieval and retrieval.sources and retrieval.uri != "local",
            "EMBEDDING_API_KEY": retrieval and retrieval.embedding_url,
            "SEARCH_API_KEY": retrieval and retrieval.live,
        }
        return tuple(sorted({*self.packed.variables, *(name for name, is_read in reads.items() if is_read)}))

    def submission(self, env_vars: dict[str, str]) -> Submission:
        metadata = {OURS: self.wheel.version, "project": self.project.name, "verb": self.verb}
        return Submission(
            new_job_id(self.project.name, self.verb), self.entrypoint, metadata, env_vars, num_cpus=_DRIVER_CPUS
        )

    def phases(self, hardware: Hardware) -> list[Phase]:
        """What has to be there at once, on a cluster with these nodes."""
        steps = {
            "train": [*_training(self.project, hardware), *_parity(self.project, hardware)],
            "index": _indexing(self.project),
            "compare": [
                *(_training(self.project, hardware) if self.project.tunes else ()), *_indexing(self.project),
                _serving(
                    self.project, hardware, self.project.retrieves, _num_merged(self.project)
                ),
            ],
        }  # fmt: skip
        driver = {"CPU": _DRIVER_CPUS}
        return [replace(phase, bundles=(driver, *phase.bundles)) for phase in steps[self.verb]]


def prepare_job(project: Project, verb: str, arguments: Sequence[str] = (), shared: Sequence[Path] = ()) -> PreparedJob:
    """Find what `tandem VERB ARGUMENTS` needs of this project on a cluster.

    Args:
        shared: folders that the cluster's nodes have under the same path: what lies below is not sent.

    Raises:
        TandemError: it could not work there, a file is missing, or a secret would be sent.
    """
    if "--watch" in arguments:
        raise TandemError(
            "`index --watch` follows documents that change, and a job has a copy of them.",
            "An indexing that ends.",
            "Run `tandem index --submit` again when they have changed.",
        )
    refuse_local_settings(project, verb)
    packed = packed_project(project.path, project.name, verb, SUFFIXES, tuple(shared))
    _refuse_secrets(packed.text, project.path)
    storage = Path(project.settings.storage)
    package = pack_files(packed.wanted, storage.resolve() if "://" not in project.settings.storage else None)
    files = (PackedFile(PROJECT_FILE, packed.text.encode()), *package.files)
    return PreparedJob(project, verb, tuple(arguments), packed, replace(package, files=files))


def refuse_local_settings(project: Project, verb: str) -> None:
    """Refuse what could only work on one machine.

    Raises:
        TandemError: what it is, and what to set instead.
    """
    storage = project.settings.storage
    known_there = "://" in storage or "${" in storage  # a variable that only the cluster has
    below = Path(storage).resolve().is_relative_to(project.path.parent.resolve())
    if not known_there and (below or not Path(storage).is_absolute()):
        raise TandemError(
            f"storage is {storage!r}: on a cluster it would lie in the job's working directory, and vanish with it.",
            "An absolute path that every node mounts, such as /mnt/tandem, or a URL such as s3://bucket/tandem.",
            "Set `storage` in the project file.",
        )
    if verb in ("index", "compare") and project.retrieval.sources and project.retrieval.uri == "local":
        raise TandemError(
            "retrieval.uri is `local`: that document store runs beside a command of one machine.",
            "The address of a Milvus server that the cluster's nodes reach.",
            "Set `retrieval.uri`, such as http://milvus:19530.",
        )


def write_package(job: PreparedJob, to: Path) -> Path:
    """Write what `--submit` would send, for `ray job submit` and for people to read; the script that submits it.

    Raises:
        TandemError: the folder holds something already.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise TandemError(
            f"{to} is there already.", "A folder that is empty or does not exist.", "Name another, or remove it."
        )
    job.package.write_folder(to / _WORKING_DIR)
    (to / job.wheel.name).write_bytes(job.wheel.content)
    description = _describe_job(job)
    (to / _JOB).write_text(json.dumps(description, indent=2) + "\n")
    script = to / "submit.sh"
    script.write_text(_script(description))
    script.chmod(0o755)
    return script


def _describe_job(job: PreparedJob) -> dict[str, Any]:
    """What Ray is asked; paths are relative to the folder."""
    submission = asdict(job.submission({}))
    del submission["id"], submission["env_vars"]
    environment = runtime_env(_WORKING_DIR, job.wheel.name, {})
    return {**submission, "runtime_env": environment, "environment_of_the_cluster": list(job.variables)}


def _script(description: dict[str, Any]) -> str:
    environment = {name: value for name, value in description["runtime_env"].items() if name != "working_dir"}
    return f"""#!/bin/sh
# Ray's own command does what `tandem --submit` does. It reads RAY_API_SERVER_ADDRESS, RAY_AUTH_MODE=token and
# RAY_AUTH_TOKEN; what is given to this script (--no-wait, --submission-id ID) goes before the job's command.
cd "$(dirname "$0")" || exit 1
exec ray job submit --working-dir {_WORKING_DIR} --entrypoint-num-cpus {description["num_cpus"]:g} \\
  --metadata-json {shlex.quote(json.dumps(description["metadata"]))} \\
  --runtime-env-json {shlex.quote(json.dumps(environment))} \\
  "$@" -- {description["entrypoint"]}
"""


def _refuse_secrets(text: str, path: Path) -> None:
    for scalar in scalars(text):
        is_key = scalar.location.endswith(".api_key") and "${" not in scalar.written
        if is_key or _PASSWORD.search(scalar.written):
            line = text.count("\n", 0, scalar.start) + 1
            raise TandemError(
                f"{path}:{line}: {scalar.location} holds a secret, which would be sent with the file.",
                "The name of an environment variable, as ${NAME}, that the cluster has.",
                "Write ${NAME}; `--env NAME` sends its value with this one job.",
            )


def _training(project: Project, hardware: Hardware) -> list[Phase]:
    """Ray Train's workers: a GPU each where the cluster has any, else a CPU, or what `ray_options` says."""
    config, options = project.training, project.training.ray_options
    resources = options.get("resources_per_worker")
    if options.get("use_gpu") or config.method == "qlora" or training_kind(config, hardware) == "gpu":
        bundle = {"GPU": 1.0, **(resources or {})}
    else:
        bundle = resources or {"CPU": 1.0}
    return [Phase("training", (bundle,) * resolve_workers(config, hardware).workers.min)]


def _parity(project: Project, hardware: Hardware) -> list[Phase]:
    """After a training its version is served once, by one engine."""
    alone = project.with_serving(project.serving.for_one_model(project.model))
    checked = project.training.parity_tolerance is not None or project.serving.copy_of
    return [_serving(alone, hardware, with_documents=False)] if checked else []


def _indexing(project: Project) -> list[Phase]:
    config = project.retrieval
    bundle = {"GPU": config.embedding_gpus_per_worker} if config.embedding_gpus_per_worker else {"CPU": 1.0}
    return [Phase("indexing", (bundle,) * config.embedding_workers)]


def _serving(project: Project, hardware: Hardware, with_documents: bool, num_merged: int = 0) -> Phase:
    """The engines, gateways and retrievers that the endpoint starts with.

    Args:
        num_merged: whole models that are served beside the base models.
    """
    config = project.serving
    models = max(1, len(config.models)) + num_merged
    engines = max(1, config.num_replicas.min) * models
    reserved = reserved_gpus(config) if with_documents else 0.0
    share = GpuShare(_gpus_per_engine(config, engines, hardware, reserved))
    engine = engine_options(config, hardware, "base", share)["placement_group_bundles"]
    gateway = {"CPU": float(gateway_options(config)["ray_actor_options"]["num_cpus"])}
    retriever = {"CPU": float(retriever_options(config, hardware)["ray_actor_options"]["num_cpus"])}
    if config.gpus_per_retriever:
        retriever["GPU"] = config.gpus_per_retriever
    retrievers = max(1, config.num_retrievers.min) if with_documents else 0
    bundles = (*engine * engines, *(gateway,) * config.num_gateways, *(retriever,) * retrievers)
    return Phase("serving", bundles)


def _num_merged(project: Project) -> int:
    """Whole models that a comparison trains and serves beside the base models."""
    if result_kind(project.training) != "merged":
        return 0
    return sum(not set(arms).isdisjoint(project.evaluation.arms) for arms in ARMS_OF.values())


def _gpus_per_engine(config: ServingConfig, engines: int, hardware: Hardware, reserved: float) -> float:
    """A whole GPU, or the part that is left where engines of one GPU and one replica share; the job itself checks
    their memory before it trains.

    Args:
        reserved: what retrievers take of the GPUs.
    """
    if config.gpus_per_engine is not None:
        return config.gpus_per_engine
    may_share = num_devices(config) == 1 and config.num_replicas.min <= 1
    num_gpus = hardware.num_gpus or hardware.most_gpus
    is_whole = GpuDemand(engines, reserved=reserved).fits(hardware)
    if not may_share or is_whole or left_for_engines(num_gpus, reserved) <= 0:
        return 1.0
    return equal_share(engines, num_gpus, reserved)
