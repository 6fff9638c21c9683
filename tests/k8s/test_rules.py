"""Each rule lets the overlays through and finds the smallest change that breaks it."""

import copy
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cluster.manifests import pods, schemas
from cluster.manifests.bundle import Bundle, Manifest
from tandem.cli import app
from tandem.commands.cluster.render_check import check_manifests, make_rules
from tests.k8s.overlays import OVERLAYS, rendered

Documents = list[dict[str, Any]]
CRDS = os.environ.get("TANDEM_CRDS")
TANDEM = get_command(app)
RULES = make_rules(TANDEM)


def pod(documents: Documents, kind: str, part: str) -> dict[str, Any]:
    group = head(documents, kind) if part == "head" else worker(documents, kind)
    return group["template"]["spec"]


def the(documents: Documents, kind: str, name: str = "") -> dict[str, Any]:
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"].startswith(name))


def head(documents: Documents, kind: str) -> dict[str, Any]:
    return cluster(documents, kind)["headGroupSpec"]


def worker(documents: Documents, kind: str) -> dict[str, Any]:
    return cluster(documents, kind)["workerGroupSpecs"][0]


def cluster(documents: Documents, kind: str) -> dict[str, Any]:
    spec = the(documents, kind)["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def container(documents: Documents, kind: str) -> dict[str, Any]:
    return worker(documents, kind)["template"]["spec"]["containers"][0]


def project(documents: Documents, old: str, new: str) -> None:
    data = the(documents, "ConfigMap", "tandem-project")["data"]
    assert old in data["tandem.yaml"]
    data["tandem.yaml"] = data["tandem.yaml"].replace(old, new)


def cron(documents: Documents, name: str) -> dict[str, Any]:
    return the(documents, "CronJob", name)["spec"]


def cron_container(documents: Documents, name: str) -> dict[str, Any]:
    return cron(documents, name)["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


def policy(documents: Documents, name: str) -> dict[str, Any]:
    in_tandem = [one for one in documents if one["metadata"].get("namespace") == "tandem"]
    return the(in_tandem, "NetworkPolicy", name)["spec"]


def remove(documents: Documents, kind: str, name: str = "") -> None:
    documents.remove(the(documents, kind, name))


def argument(documents: Documents, old: str, new: str) -> None:
    spec = the(documents, "RayJob")["spec"]
    assert old in spec["entrypoint"]
    spec["entrypoint"] = spec["entrypoint"].replace(old, new)


def environment(documents: Documents, name: str, value: str) -> None:
    container(documents, "RayJob")["env"].append({"name": name, "value": value})


BREAKS: list[tuple[str, str, Callable[[Documents], Any]]] = [
    ("unset", "a setting", lambda d:
        the(d, "ConfigMap", "tandem-settings")["data"].update(TANDEM_IMAGE="CHANGE-ME")),
    ("unset", "a field", lambda d: the(d, "Gateway")["spec"].update(gatewayClassName="CHANGE-ME")),
    ("resources", "limits of a worker", lambda d: container(d, "RayJob")["resources"].pop("limits")),
    ("resources", "fewer devices asked for than given", lambda d:
        container(d, "RayJob")["resources"]["requests"].update({"nvidia.com/gpu": "0"})),
    ("resources", "devices asked for and not given", lambda d:
        container(d, "RayJob")["resources"]["limits"].pop("nvidia.com/gpu")),
    ("resources", "memory of a schedule", lambda d:
        cron_container(d, "tandem-index")["resources"]["requests"].pop("memory")),
    ("resources", "of the autoscaler", lambda d: cluster(d, "RayService")["autoscalerOptions"].pop("resources")),
    ("resources", "of an init container", lambda d: pod(d, "RayJob", "head").update(
        initContainers=[container(d, "RayJob") | {"name": "first", "resources": {}}])),
    ("image", "latest", lambda d: container(d, "RayJob").update(image="tandem:latest")),
    ("image", "no tag", lambda d: cron_container(d, "tandem-index").update(image="registry:5000/tandem")),
    ("image", "of Milvus", lambda d: the(d, "Milvus")["spec"]["components"].update(image="milvusdb/milvus")),
    ("secret", "a Secret with values", lambda d: d.append(
        {"kind": "Secret", "metadata": {"name": "x", "namespace": "tandem"}, "stringData": {"a": "b"}})),
    ("secret", "in a variable", lambda d: environment(d, "HF_TOKEN", "hf_0123")),
    ("secret", "in the settings", lambda d:
        the(d, "ConfigMap", "tandem-settings")["data"].update(MILVUS_TOKEN="root:x")),
    ("secret", "in a URL", lambda d: project(d, "redis://:${REDIS_PASSWORD}@", "redis://:hunter2@")),
    ("security", "privilege", lambda d:
        container(d, "RayService")["securityContext"].update(allowPrivilegeEscalation=True)),
    ("security", "a capability", lambda d:
        container(d, "RayService")["securityContext"]["capabilities"].update(add=["SYS_PTRACE"])),
    ("security", "a writable root", lambda d:
        cron_container(d, "milvus-backup")["securityContext"].pop("readOnlyRootFilesystem")),
    ("security", "root", lambda d: pod(d, "RayJob", "head")["securityContext"].update(runAsUser=0)),
    ("security", "no seccomp", lambda d: pod(d, "RayJob", "head")["securityContext"].pop("seccompProfile")),
    ("security", "the host's network", lambda d: pod(d, "RayJob", "worker").update(hostNetwork=True)),
    ("security", "a folder of the host", lambda d: pod(d, "RayJob", "worker")["volumes"].append(
        {"name": "host", "hostPath": {"path": "/"}})),
    ("security", "the autoscaler", lambda d: cluster(d, "RayService")["autoscalerOptions"].pop("securityContext")),
    ("security", "the namespace", lambda d: the(d, "Namespace", "tandem")["metadata"]["labels"].pop(
        "pod-security.kubernetes.io/enforce")),
    ("volume", "no /tmp", lambda d: container(d, "RayJob")["volumeMounts"].pop(0)),
    ("volume", "a cache that goes with the pod", lambda d: container(d, "RayJob")["env"].append(
        container(d, "RayJob")["env"].pop(2) | {"value": "/home/tandem/.cache"})),
    ("volume", "a cache on no volume", lambda d: container(d, "RayService")["env"].append(
        container(d, "RayService")["env"].pop(2) | {"value": ""})),
    ("volume", "a mount of nothing", lambda d:
        container(d, "RayJob")["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
    ("probe", "an unknown port", lambda d:
        container(d, "RayService")["readinessProbe"]["httpGet"].update(port="http")),
    ("name", "too long for a RayJob", lambda d: the(d, "RayJob")["metadata"].update(name="t" * 48)),
    ("name", "begins with a number", lambda d: the(d, "RayCluster")["metadata"].update(name="1st")),
    ("version", "of Ray", lambda d: cluster(d, "RayService").update(rayVersion="2.59.0")),
    ("version", "of the image", lambda d:
        container(d, "RayJob").update(image="registry.example.com/tandem:0.0.9-gpu")),
    ("version", "CPU image on a GPU", lambda d: container(d, "RayJob").update(image="tandem:0.1.0-cpu")),
    ("token", "none", lambda d: cluster(d, "RayJob").pop("authOptions")),
    ("token", "no pinned Secret", lambda d: cluster(d, "RayService")["authOptions"].pop("secretName")),
    ("autoscaling", "restart policy", lambda d: pod(d, "RayService", "worker").update(restartPolicy="Always")),
    ("autoscaling", "no order", lambda d: worker(d, "RayService").update(minReplicas=9)),
    ("autoscaling", "no bounds", lambda d: worker(d, "RayJob").pop("maxReplicas")),
    ("autoscaling", "options alone", lambda d: cluster(d, "RayService").pop("enableInTreeAutoscaling")),
    ("twice", "num-cpus", lambda d: worker(d, "RayJob")["rayStartParams"].update({"num-cpus": "4"})),
    ("twice", "num-gpus", lambda d: worker(d, "RayService")["rayStartParams"].update({"num-gpus": "1"})),
    ("twice", "beside resources", lambda d: head(d, "RayService")["rayStartParams"].update({"resources": "{}"})),
    ("label", "KubeRay's own", lambda d: head(d, "RayService")["template"]["metadata"]["labels"].update(
        {"app.kubernetes.io/name": "tandem"})),
    ("end", "suspended, never removed", lambda d:
        the(d, "RayJob")["spec"].update(suspend=True, shutdownAfterJobFinishes=False)),
    ("end", "two rules of deletion", lambda d: the(d, "RayJob")["spec"].update(deletionStrategy={"deletionRules": [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED"}}]})),
    ("end", "no deadline", lambda d: the(d, "RayJob")["spec"].pop("activeDeadlineSeconds")),
    ("end", "KubeRay's submitter", lambda d: the(d, "RayJob")["spec"].pop("submitterPodTemplate")),
    ("queue", "autoscaling in a queue", lambda d: cluster(d, "RayJob").update(
        enableInTreeAutoscaling=True, autoscalerOptions=cluster(d, "RayService")["autoscalerOptions"])),
    ("queue", "keeps its nodes", lambda d: the(d, "RayJob")["spec"].update(
        shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=0)),
    ("queue", "a device that no queue counts", lambda d: [
        amounts.update({"rdma/ib": "1"}) for amounts in container(d, "RayJob")["resources"].values()]),
    ("queue", "no such queue", lambda d:
        the(d, "RayJob")["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "fast"})),
    ("queue", "no cluster queue", lambda d: remove(d, "ClusterQueue")),
    ("serving", "head in the service", lambda d: the(d, "RayService")["spec"].pop("excludeHeadPodFromServeSvc")),
    ("serving", "shared state", lambda d: cluster(d, "RayService")["gcsFaultToleranceOptions"].update(
        externalStorageNamespace="tandem")),
    ("serving", "another port", lambda d:
        head(d, "RayService")["template"]["spec"]["containers"][0]["ports"].pop()),
    ("serving", "KubeRay's probe", lambda d: container(d, "RayService").pop("readinessProbe")),
    ("serving", "no first worker", lambda d: worker(d, "RayService").update(minReplicas=0)),
    ("milvus", "Pulsar", lambda d: the(d, "Milvus")["spec"]["dependencies"].pop("msgStreamType")),
    ("milvus", "no authentication", lambda d:
        the(d, "Milvus")["spec"]["config"]["common"]["security"].pop("authorizationEnabled")),
    ("milvus", "no TLS", lambda d: the(d, "Milvus")["spec"]["config"]["common"]["security"].update(tlsMode=0)),
    ("schedule", "no zone", lambda d: cron(d, "tandem-index").pop("timeZone")),
    ("schedule", "side by side", lambda d: cron(d, "tandem-index").update(concurrencyPolicy="Allow")),
    ("schedule", "no end", lambda d: cron(d, "milvus-backup")["jobTemplate"]["spec"].pop("activeDeadlineSeconds")),
    ("reference", "ConfigMap", lambda d: remove(d, "ConfigMap", "tandem-project")),
    ("reference", "claim", lambda d: remove(d, "PersistentVolumeClaim", "tandem-models")),
    ("reference", "account", lambda d: remove(d, "ServiceAccount")),
    ("reference", "priority", lambda d: remove(d, "PriorityClass", "tandem-batch")),
    ("reference", "unknown Secret", lambda d:
        container(d, "RayJob")["envFrom"].append({"secretRef": {"name": "mine"}})),
    ("reference", "unknown key", lambda d: cron_container(d, "milvus-backup")["env"].append(
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "milvus-root", "key": "pw"}}})),
    ("reference", "token", lambda d: cluster(d, "RayCluster")["authOptions"].update(secretName="other")),
    ("selector", "budget", lambda d: the(d, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(
        {"app.kubernetes.io/component": "server"})),
    ("selector", "Service", lambda d: the(d, "Service", "tandem-redis")["spec"]["selector"].update(
        {"app.kubernetes.io/component": "cache"})),
    ("selector", "own pods", lambda d:
        the(d, "StatefulSet", "tandem-redis")["spec"]["selector"]["matchLabels"].update(a="b")),
    ("port", "of a Service", lambda d:
        the(d, "Service", "tandem-redis")["spec"]["ports"][0].update(targetPort="http")),
    ("port", "of a PodMonitor", lambda d:
        the(d, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="prom")),
    ("port", "of a route", lambda d: the(d, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0].update(port=80)),
    ("port", "a route to nothing", lambda d:
        the(d, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0].update(name="x")),
    ("deny", "ingress", lambda d: policy(d, "deny-all").update(policyTypes=["Egress"])),
    ("service", "nobody is let in", lambda d: remove(d, "NetworkPolicy", "redis")),
    ("service", "another port", lambda d: policy(d, "operator")["ingress"][0].update(ports=[{"port": 8266}])),
    ("path", "not let out", lambda d: remove(d, "NetworkPolicy", "to-redis")),
    ("path", "not let in", lambda d: remove(d, "NetworkPolicy", "schedules-to-cluster")),
    ("entrypoint", "no such verb", lambda d: argument(d, " train ", " tune ")),
    ("entrypoint", "no such option", lambda d: argument(d, " train ", " train --fast ")),
    ("entrypoint", "own training.py wins", lambda d: argument(d, "python -P -m", "python -m")),
    ("entrypoint", "another file", lambda d: argument(d, "/etc/tandem/", "/tmp/")),
    ("entrypoint", "in a schedule", lambda d:
        cron_container(d, "tandem-compare").update(args=["python", "compare.py"])),
    ("serve-config", "another application", lambda d: the(d, "RayService")["spec"].update(
        serveConfigV2=the(d, "RayService")["spec"]["serveConfigV2"].replace("deployment:build", "app:main"))),
    ("serve-config", "no YAML", lambda d: the(d, "RayService")["spec"].update(serveConfigV2="a: [")),
    ("project", "a misspelt key", lambda d: project(d, "max_failures", "max_failure")),
    ("project", "a variable that nobody sets", lambda d: project(d, "${TANDEM_MODEL}", "${MODEL}")),
    ("project", "this machine only", lambda d: project(d, "host: 0.0.0.0", "host: 127.0.0.1")),
    ("project", "a local index", lambda d:
        project(d, "uri: https://tandem-milvus.tandem-milvus:19530", "uri: local")),
    ("fit", "idle GPUs", lambda d: worker(d, "RayJob").update(replicas=9, maxReplicas=9)),
    ("fit", "too many workers", lambda d: worker(d, "RayJob").update(replicas=1, minReplicas=1)),
    ("fit", "a short grace", lambda d: pod(d, "RayService", "worker").update(terminationGracePeriodSeconds=60)),
    ("fit", "the old cluster goes early", lambda d:
        the(d, "RayService")["spec"].pop("rayClusterDeletionDelaySeconds")),
    ("fit", "another port", lambda d: project(d, "port: 8000", "port: 8001")),
]  # fmt: skip


@cache
def read(overlay: str) -> tuple[dict[str, Any], ...]:
    return tuple(one.values for one in Bundle.read(rendered(overlay)).manifests)


def documents_of(overlay: str) -> Documents:
    return copy.deepcopy(list(read(overlay)))


def bundle_of(documents: Documents) -> Bundle:
    return Bundle(tuple(map(Manifest, documents)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_wrong_with_an_overlay_whose_values_are_set(overlay: str) -> None:
    assert check_manifests(Bundle.read(rendered(overlay)), TANDEM, Path(CRDS) if CRDS else None) == []


@pytest.mark.parametrize(("overlay", "fewest"), [("dev", 0), ("gpu", 3), ("production", 10)])
def test_values_that_are_not_set_are_named_and_nothing_else(overlay: str, fewest: int) -> None:
    found = check_manifests(Bundle.read(rendered(overlay, as_is=True)), TANDEM)
    assert len(found) >= fewest and (found or overlay == "dev")
    settings = (Path(__file__).parents[2] / "k8s" / "overlays" / overlay / "project" / "settings.env").read_text()
    marked = {line.partition("=")[0] for line in settings.splitlines() if line.endswith("=CHANGE-ME")}
    assert {finding.text.partition(" ")[0] for finding in found} == marked


@pytest.mark.parametrize(("rule", "broken", "break_it"), BREAKS, ids=[f"{rule}: {how}" for rule, how, _ in BREAKS])
def test_a_rule_finds_what_breaks_it(rule: str, broken: str, break_it: Callable[[Documents], Any]) -> None:
    documents = documents_of("production")
    assert not list(RULES[rule](bundle_of(documents)))
    break_it(documents)
    found = list(RULES[rule](bundle_of(documents)))
    assert found and all(finding.rule == rule and finding.text.endswith((".", ")", "?")) for finding in found), broken


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


def test_an_unset_value_hides_what_follows_from_it() -> None:
    documents = documents_of("dev")
    the(documents, "ConfigMap", "tandem-settings")["data"]["TANDEM_IMAGE"] = f"{pods.UNSET}"
    container(documents, "RayJob")["image"] = pods.UNSET
    (found,) = check_manifests(bundle_of(documents), TANDEM)
    assert str(found) == "settings.env: TANDEM_IMAGE is not set: write its value there. [unset]"


@pytest.mark.skipif(not CRDS, reason="needs TANDEM_CRDS, a folder with the schemas of custom resources")
@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("RayJob", lambda spec: spec.update(activeDeadlineSecond=1)),
        ("RayService", lambda spec: spec["rayClusterConfig"]["workerGroupSpecs"][0].update(replicas="two")),
        ("RayCluster", lambda spec: spec.pop("headGroupSpec")),
        ("Milvus", lambda spec: spec["dependencies"].update(msgStreamType="carrier-pigeon")),
        ("ClusterQueue", lambda spec: spec["resourceGroups"][0]["flavors"][0].pop("resources")),
        ("PodMonitor", lambda spec: spec.update(selektor={})),
    ],
)
def test_a_schema_finds_what_breaks_it(kind: str, break_it: Callable[[dict[str, Any]], Any]) -> None:
    documents = documents_of("production")
    break_it(the(documents, kind)["spec"])
    found = list(schemas.check_schemas(bundle_of(documents), Path(str(CRDS))))
    assert found and all(kind in finding.where for finding in found)
