"""Ray's custom resources as plain values: the pods of a cluster, a job and a service, as KubeRay 1.7 takes them.

    target = Target(image="tandem:0.1.0-cpu")
    ray_job(target, Pods(cpus=2, memory_gib=8), num_workers=2, entrypoint="python -P -m tandem train -c ...")

Every pod meets Kubernetes' `restricted` standard: no root, no capability, a read-only root with volumes where Ray and
vLLM write. Labels are ours alone: KubeRay's services select by `app.kubernetes.io/name`, which a pod must not change.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

Values = dict[str, Any]
PROJECT_FILE = "/etc/tandem/tandem.yaml"
STORAGE, MODELS, HOME = "/mnt/tandem", "/mnt/models", "/home/tandem"
# What engines compile outlives a pod beside the hub's models.
ENVIRONMENT = {"HOME": HOME, "HF_HOME": MODELS, "TANDEM_COMPILED": f"{MODELS}/compiled"}
TOKEN_SECRET, SETTINGS, SECRETS, PROJECT = "ray-token", "tandem-settings", "tandem-secrets", "tandem-project"
SERVICE_ACCOUNT = "tandem"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""The annotation that Multus reads: further network interfaces of a pod."""

METRICS_PORT = 8080
DRAIN = "timeout 60 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --reason-message 'the pod ends'"
USER = 1000
SECURITY: Values = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}
POD_SECURITY: Values = {
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "runAsGroup": USER,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Target:
    """Where it runs: the image of all pods, the namespace, and the claims of the storage and of the hub's models."""

    image: str
    namespace: str = "tandem"
    storage_claim: str = "tandem-storage"
    models_claim: str = "tandem-models"
    queue: str | None = None
    """Kueue's LocalQueue of a job."""


@dataclass(frozen=True)
class Pods:
    """What one worker pod has."""

    cpus: int
    memory_gib: int
    gpus: int = 0
    rdma: tuple[str, int] | None = None
    """Resource name of the RDMA device plugin, and how many of it."""

    network: str = ""
    """A NetworkAttachmentDefinition of Multus, for an interface of the RDMA network; empty for none."""

    @property
    def resources(self) -> Values:
        """Requests are limits: a pod that may take more than it asked for is the first to be ended."""
        amounts: Values = {"cpu": str(self.cpus), "memory": f"{self.memory_gib}Gi"}
        if self.gpus:
            amounts["nvidia.com/gpu"] = str(self.gpus)
        if self.rdma:
            amounts[self.rdma[0]] = str(self.rdma[1])
        return {"limits": amounts, "requests": dict(amounts)}


HEAD = Pods(cpus=2, memory_gib=8)
SUBMITTER = Pods(cpus=1, memory_gib=1)


def ray_job(
    target: Target, pods: Pods, num_workers: int, entrypoint: str, deadline_s: int, fewest: int | None = None
) -> Values:
    """A RayJob with a cluster of its own, which ends with it. Its head takes work too: a training's check does.

    Args:
        deadline_s: seconds after which it is ended, queueing included.
        fewest: worker pods that are always there; None for all of them. Ray's autoscaler starts the others.
    """
    labels = {"kueue.x-k8s.io/queue-name": target.queue} if target.queue else {}
    cluster = _scaled_cluster(target, "train", pods, num_workers, fewest)
    return _named(target, "RayJob", "tandem-train", labels) | {
        "spec": {
            "activeDeadlineSeconds": deadline_s,
            "backoffLimit": 0,
            "entrypoint": entrypoint,
            "rayClusterSpec": cluster,
            "shutdownAfterJobFinishes": True,
            "submissionMode": "K8sJobMode",
            "submitterPodTemplate": _submitter(target),
            "ttlSecondsAfterFinished": 3600,
        }
    }


def ray_service(
    target: Target, pods: Pods, workers: tuple[int, int], serve_config: str, port: int, longest_s: int, drain_s: int
) -> Values:
    """A RayService. A new version is a new cluster beside the old one, which is kept until its answers have ended.

    Args:
        workers: fewest and most worker pods; Ray's autoscaler chooses.
        longest_s: seconds of the longest answer.
        drain_s: seconds that answers have once a replica is told to end.
    """
    head = _head(target, "serve", port)
    head["resources"] = {"CPU": "0"}  # with a head that does no work, an engine cannot take the whole cluster down
    group = _workers(target, "serve", pods, workers[0], most=workers[1])[0]
    pod = group["template"]["spec"]
    _serve_pod(pod, port, longest_s, drain_s)
    cluster = _with_autoscaler(_cluster(target, "serve", [head, group]))
    return _named(target, "RayService", "tandem-serve", {}) | {
        "spec": {
            "excludeHeadPodFromServeSvc": True,
            "rayClusterConfig": cluster,
            "rayClusterDeletionDelaySeconds": longest_s + drain_s + 60,
            "serveConfigV2": serve_config,
            "upgradeStrategy": {"type": "NewCluster"},
        }
    }


def ray_cluster(target: Target, pods: Pods, num_workers: int, fewest: int | None = None) -> Values:
    """A standing RayCluster, for interactive use and for the scheduled jobs; `fewest` as for `ray_job`."""
    cluster = _scaled_cluster(target, "cluster", pods, num_workers, fewest)
    return _named(target, "RayCluster", "tandem-cluster", {}) | {"spec": cluster}


def _named(target: Target, kind: str, name: str, labels: dict[str, str]) -> Values:
    own = {"app.kubernetes.io/part-of": "tandem", **labels}
    return {
        "apiVersion": "ray.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": target.namespace, "labels": own},
    }  # fmt: skip


def _cluster(target: Target, instance: str, groups: list[Values]) -> Values:
    return {
        "authOptions": {"mode": "token", "secretName": TOKEN_SECRET},
        "headGroupSpec": groups[0],
        "rayVersion": version("ray"),
        "workerGroupSpecs": groups[1:],
    }


def _scaled_cluster(target: Target, instance: str, pods: Pods, num_workers: int, fewest: int | None) -> Values:
    """A head and workers: as many as said, or between `fewest` and as many as said."""
    number = num_workers if fewest is None else fewest
    groups = [_head(target, instance), *_workers(target, instance, pods, number, most=num_workers)]
    cluster = _cluster(target, instance, groups)
    return cluster if fewest is None else _with_autoscaler(cluster)


def _with_autoscaler(cluster: Values) -> Values:
    """The cluster with Ray's autoscaler beside its head, under a service account of KubeRay's that may scale workers.

    With its token Tandem reads there how many GPUs the autoscaler may add (cluster/autoscaler.py).
    """
    spec = cluster["headGroupSpec"]["template"]["spec"]
    del spec["serviceAccountName"], spec["automountServiceAccountToken"]
    return cluster | {"autoscalerOptions": _autoscaler(), "enableInTreeAutoscaling": True}


def _head(target: Target, instance: str, serve_port: int | None = None) -> Values:
    ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": METRICS_PORT}
    if serve_port:  # KubeRay makes the service of an endpoint from the head's ports
        ports["serve"] = serve_port
    return {"rayStartParams": {}, "template": _pod(target, instance, "head", HEAD, ports)}


def _workers(target: Target, instance: str, pods: Pods, num: int, most: int | None = None) -> list[Values]:
    template = _pod(target, instance, "worker", pods, {"metrics": METRICS_PORT})
    if pods.network:
        template["metadata"]["annotations"] = {NETWORKS: pods.network}
    if pods.gpus:
        template["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return [
        {
            "groupName": "workers", "minReplicas": num, "maxReplicas": num if most is None else most, "replicas": num,
            "rayStartParams": {}, "template": template,
        }
    ]  # fmt: skip


def _pod(target: Target, instance: str, part: str, pods: Pods, ports: dict[str, int]) -> Values:
    mounts = {"tmp": "/tmp", "home": HOME, "shm": "/dev/shm", "project": "/etc/tandem",
              "storage": STORAGE, "models": MODELS}  # fmt: skip
    container = _container(target, f"ray-{part}", pods) | {
        "ports": [{"name": name, "containerPort": number} for name, number in ports.items()],
        "volumeMounts": [
            {"name": name, "mountPath": path, **({"readOnly": True} if name == "project" else {})}
            for name, path in mounts.items()
        ],
    }
    # Ray keeps a third of the memory for objects, in /dev/shm, which counts as the container's memory.
    shm = {"medium": "Memory", "sizeLimit": f"{max(1, pods.memory_gib * 2 // 5)}Gi"}
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "home", "emptyDir": {}},
        {"name": "shm", "emptyDir": shm},
        {"name": "project", "configMap": {"name": PROJECT}},
        {"name": "storage", "persistentVolumeClaim": {"claimName": target.storage_claim}},
        {"name": "models", "persistentVolumeClaim": {"claimName": target.models_claim}},
    ]
    return _template(instance, part, {"containers": [container], "volumes": volumes})


def _container(target: Target, name: str, pods: Pods) -> Values:
    """Settings and secrets are environment variables, so that a project file says `${NAME}`."""
    return {
        "name": name,
        "image": target.image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in ENVIRONMENT.items()],
        "envFrom": [
            {"configMapRef": {"name": SETTINGS, "optional": True}},
            {"secretRef": {"name": SECRETS, "optional": True}},
        ],
        "resources": pods.resources,
        "securityContext": SECURITY,
    }


def _template(instance: str, part: str, spec: Values) -> Values:
    labels = {
        "app.kubernetes.io/part-of": "tandem",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": f"{instance}-{part}",
    }
    own = {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "priorityClassName": "tandem-serving" if instance == "serve" else "tandem-batch",
        "securityContext": POD_SECURITY,
    }
    return {"metadata": {"labels": labels}, "spec": own | spec}


def _serve_pod(pod: Values, port: int, longest_s: int, drain_s: int) -> None:
    """A worker of an endpoint is ready while a gateway listens in it; one without a gateway gets no request.

    A pod that is to go is first taken out of the service, and what its gateway answers has time to end. Only then is
    Ray told, which starts its engine elsewhere and asks it no more: Serve gives what it moves `drain_s`, not longer.
    """
    (container,) = pod["containers"]
    container["ports"].append({"name": "serve", "containerPort": port})
    container["readinessProbe"] = {
        "httpGet": {"path": "/-/healthz", "port": "serve"},
        "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 1,
    }  # fmt: skip
    leave = f"sleep {longest_s}; {DRAIN} --deadline-remaining-seconds {longest_s}; sleep {longest_s}"
    container["lifecycle"] = {"preStop": {"exec": {"command": ["sh", "-c", leave]}}}
    pod["terminationGracePeriodSeconds"] = 2 * longest_s + drain_s + 90


def _submitter(target: Target) -> Values:
    """The pod that submits a job and follows its log; KubeRay's own is refused where pods are `restricted`."""
    container = _container(target, "ray-job-submitter", SUBMITTER) | {
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "home", "mountPath": HOME}]
    }
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}]
    return _template("train", "submitter", {"containers": [container], "volumes": volumes, "restartPolicy": "Never"})


def _autoscaler() -> Values:
    """Version 2 of Ray's autoscaler, beside the head; it writes its log below /tmp."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": 300,
        "resources": {
            "limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"},
        },
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
