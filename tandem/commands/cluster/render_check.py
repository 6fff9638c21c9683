"""`tandem render check`: rendered manifests against every rule that is known without a cluster.

    kubectl kustomize k8s/overlays/production | tandem render check -

The rules of pods, operators, names and the network are in cluster/manifests; here are those that need the project.
"""

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
import yaml

from cluster.errors import TandemError
from cluster.jobs.wheel import package_version
from cluster.manifests import network_policies, operators, pods, references, schemas
from cluster.manifests.bundle import Bundle, Manifest, ManifestFinding, Values, cluster_spec, value_at
from cluster.manifests.kuberay import PROJECT, PROJECT_FILE, SETTINGS
from cluster.manifests.references import USERS_SECRETS
from tandem.commands.options import AsJson
from tandem.console import Console
from tandem.deployment import DEPLOYED
from tandem.project.project import Project, load
from training.config import AutoWorkers
from training.plan.placement import gpus_per_worker

# What an unknown verb or option raises; typer carries its click under a private name.
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
Rule = Callable[[Bundle], Iterator[ManifestFinding]]


def check_files(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Rendered manifests that are applied together; - reads them.")],
    crds: Annotated[
        Path | None, typer.Option(envvar="TANDEM_CRDS", help="A folder with the schemas of custom resources.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check rendered manifests against every rule that needs no cluster.

    Exit code 2: a rule is broken.
    """
    bundle = Bundle.read("\n---\n".join(map(_read_text, files)), ", ".join(map(str, files)))
    findings, console = check_manifests(bundle, context.find_root().command, crds), Console(as_json)
    text = "\n".join(map(str, findings)) or f"{len(bundle.manifests)} objects, and nothing is wrong with them."
    console.result(text, [asdict(finding) for finding in findings])
    if findings:
        console.hint("correct what is named, then run it again.")
        raise typer.Exit(2)
    console.hint("kubectl apply --server-side --dry-run=server -k FOLDER asks your cluster the same.")


def check_manifests(bundle: Bundle, tandem: Any, crds: Path | None = None) -> list[ManifestFinding]:
    """Everything that is wrong. Where values are not set yet, these alone are named: the rest follows from them.

    Args:
        tandem: the root command, which parses what jobs run.
        crds: a folder with schemas of custom resources; without it custom resources are not checked by a schema.
    """
    if missing := list(pods.check_unset_values(bundle)):
        return missing
    findings = [finding for rule in make_rules(tandem).values() for finding in rule(bundle)]
    return list(dict.fromkeys([*(schemas.check_schemas(bundle, crds) if crds else ()), *findings]))


def make_rules(tandem: Any) -> dict[str, Rule]:
    """Every rule by name; `tandem` is the root command, which parses what jobs run."""
    return {
        "unset": pods.check_unset_values,
        "resources": pods.check_resources,
        "image": pods.check_images,
        "secret": pods.check_secrets,
        "security": pods.check_security,
        "volume": pods.check_volumes,
        "probe": pods.check_probes,
        "name": operators.check_names,
        "version": check_versions,
        "token": operators.check_token,
        "autoscaling": operators.check_autoscaling,
        "twice": operators.check_set_once,
        "label": operators.check_labels,
        "end": operators.check_job_ends,
        "queue": operators.check_queues,
        "serving": operators.check_ray_services,
        "milvus": operators.check_milvus_objects,
        "schedule": operators.check_schedules,
        "reference": references.check_references,
        "selector": references.check_selectors,
        "port": references.check_ports,
        "deny": network_policies.check_default_deny,
        "service": network_policies.check_services_reached,
        "path": network_policies.check_both_sides,
        "entrypoint": partial(entrypoints, tandem),
        "serve-config": serve_configs,
        "project": projects,
        "fit": fits,
    }


def check_versions(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Images hold the versions that are installed here."""
    return operators.check_operator_versions(bundle, version("ray"), package_version())


def entrypoints(tandem: Any, bundle: Bundle) -> Iterator[ManifestFinding]:
    """What jobs run are commands of ours, with options that these have, on the mounted project file."""
    for where, command in _commands(bundle):
        if problem := _find_problem(tandem, command):
            yield ManifestFinding("entrypoint", where, f"{shlex.join(command)}: {problem}")


def serve_configs(bundle: Bundle) -> Iterator[ManifestFinding]:
    """The config inside a RayService is the service that `tandem render serve-config` writes."""
    for service in bundle.of("RayService"):
        try:
            config = yaml.safe_load(service.spec.get("serveConfigV2") or "")
            (application,) = config["applications"]
            same = application["import_path"] == DEPLOYED and application["args"] == {"project": PROJECT_FILE}
        except (yaml.YAMLError, TypeError, KeyError, ValueError):
            same = False
        if not same or config.get("proxy_location") != "Disabled":
            yield ManifestFinding(
                "serve-config", str(service), "serveConfigV2 is not what `tandem render serve-config` writes."
            )


def projects(bundle: Bundle) -> Iterator[ManifestFinding]:
    """The project file that is mounted can be read, and its endpoint can be reached."""
    for config_map in _project_files(bundle):
        try:
            project = read_project(bundle, config_map)
        except TandemError as error:
            yield ManifestFinding("project", str(config_map), str(error))
            continue
        if bundle.of("RayService") and project.serving.host != "0.0.0.0":
            yield ManifestFinding(
                "project", str(config_map), f"serving.host is {project.serving.host}: no other pod reaches it."
            )
        if project.retrieval.uri == "local" and project.retrieval.sources:
            yield ManifestFinding(
                "project", str(config_map), "retrieval.uri is local: a cluster needs the address of a Milvus server."
            )


def fits(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Manifests and project agree: room for the workers, the endpoint's port, and time for the longest answer."""
    for config_map in _project_files(bundle):
        try:
            project = read_project(bundle, config_map)
        except TandemError:
            continue  # `projects` says it
        for job in bundle.of("RayJob"):
            yield from _room(job, project)
        for service in bundle.of("RayService"):
            yield from _time(service, project)


def read_project(bundle: Bundle, config_map: Manifest) -> Project:
    """The project of a ConfigMap, with the settings of the overlay in its `${NAME}`; secrets have a placeholder.

    Raises:
        TandemError: as `tandem.project.load`.
    """
    settings = {
        key: str(value) for settings_map in bundle.of("ConfigMap") if _is(settings_map, SETTINGS)
        for key, value in (settings_map.values.get("data") or {}).items()
    }  # fmt: skip
    secrets = dict.fromkeys(USERS_SECRETS["tandem"]["tandem-secrets"], "stand-in")
    with TemporaryDirectory() as folder, _environment(secrets | settings):
        file = Path(folder) / "tandem.yaml"
        file.write_text((config_map.values.get("data") or {}).get("tandem.yaml", ""))
        # The path is a temporary one. A command that runs the project prints the notes.
        return load(file, on_note=lambda note: None)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _project_files(bundle: Bundle) -> list[Manifest]:
    return [config_map for config_map in bundle.of("ConfigMap") if _is(config_map, PROJECT)]


def _is(config_map: Manifest, name: str) -> bool:
    return config_map.name == name or re.fullmatch(rf"{name}-[a-z0-9]{{10}}", config_map.name) is not None


def _commands(bundle: Bundle) -> Iterator[tuple[str, list[str]]]:
    for job in bundle.of("RayJob"):
        yield str(job), shlex.split(str(job.spec.get("entrypoint", "")))
    for pod in bundle.pods:
        for container in pod.containers if pod.owner.kind in ("CronJob", "Job") else ():
            command = [*container.get("command", []), *container.get("args", [])]
            if command[:3] == ["ray", "job", "submit"]:
                yield str(pod), command[command.index("--") + 1 :] if "--" in command else []


def _find_problem(tandem: Any, command: list[str]) -> str | None:
    """Why a command could not run, found by the command line's own parser."""
    if command[:4] != ["python", "-P", "-m", "tandem"]:
        return "it does not begin with `python -P -m tandem`."
    if PROJECT_FILE not in command:
        return f"it does not name the mounted project file {PROJECT_FILE}."
    arguments = command[4:]
    try:
        with tandem.make_context("tandem", list(arguments)) as context:
            name, verb, rest = tandem.resolve_command(context, list(arguments))
            verb.make_context(name, rest, parent=context)
    except TandemError as error:
        return str(error)
    except _USAGE_ERROR as error:
        return str(error.format_message()).rstrip(".") + "."
    return None


def _read_text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TandemError(
            f"{file} cannot be read ({error}).",
            "A file with manifests, or - for standard input.",
            "Check the path; `kubectl kustomize k8s/overlays/dev | tandem render check -` needs no file.",
        ) from error


def _room(job: Manifest, project: Project) -> Iterator[ManifestFinding]:
    cluster = cluster_spec(job)
    groups: list[Values] = cluster.get("workerGroupSpecs", [])
    number = "maxReplicas" if cluster.get("enableInTreeAutoscaling") else "replicas"
    workers, slots, gpus = project.training.workers, 0, 0
    for group in groups:
        limits = value_at((value_at(group, "template.spec.containers") or [{}])[0], "resources.limits") or {}
        gpus += int(group.get(number) or 0) * int(limits.get("nvidia.com/gpu") or 0)
        per_pod = limits.get("nvidia.com/gpu") or limits.get("cpu") or 0
        slots += int(group.get(number) or 0) * int(float(per_pod))
    most = 1 if gpus and isinstance(workers, AutoWorkers) else workers.max
    if most > slots:
        text = f"`training.workers` is up to {most}, and its pods have room for {slots}."
        yield ManifestFinding("fit", str(job), text)
    elif gpus and not isinstance(workers, AutoWorkers):
        yield from _idle_gpus(job, project, workers.max, gpus)


def _idle_gpus(job: Manifest, project: Project, num_workers: int, gpus: int) -> Iterator[ManifestFinding]:
    """GPUs that the pods of a training have, and no worker of it uses."""
    training = project.training
    try:
        used = num_workers * gpus_per_worker(training) * (training.tune.max_concurrent if training.tune else 1)
    except TandemError as error:
        yield ManifestFinding("fit", str(job), str(error))
        return
    if gpus > used:
        text = f"its pods have {gpus} GPUs, and the workers of `training` use up to {used}: the others would be idle."
        yield ManifestFinding("fit", str(job), text)


def _time(service: Manifest, project: Project) -> Iterator[ManifestFinding]:
    serving, cluster = project.serving, cluster_spec(service)
    longest = math.ceil(serving.request_timeout_s)
    kept = service.spec.get("rayClusterDeletionDelaySeconds", 60)
    if kept < longest:
        yield ManifestFinding(
            "fit", str(service), f"rayClusterDeletionDelaySeconds is {kept}, and an answer takes {longest} s."
        )
    for group in cluster.get("workerGroupSpecs", []):
        pod = value_at(group, "template.spec") or {}
        grace = pod.get("terminationGracePeriodSeconds", 30)
        if grace < longest + serving.drain_s:
            text = f"terminationGracePeriodSeconds is {grace}: the longest answer and the end take {longest} and "
            yield ManifestFinding("fit", str(service), f"{text}{serving.drain_s:g} s.")
        numbers = [
            p["containerPort"] for p in (pod.get("containers") or [{}])[0].get("ports", []) if p["name"] == "serve"
        ]
        if numbers != [serving.port]:
            yield ManifestFinding(
                "fit", str(service), f"the port `serve` is {numbers}, and serving.port is {serving.port}."
            )
