"""What operators hold and no schema shows, as the code of KubeRay 1.7, Kueue and Milvus Operator 1.3.8 has it."""

import re
from collections.abc import Iterator

from cluster.manifests.bundle import Bundle, Manifest, ManifestFinding, Values, cluster_spec, value_at

# A RayJob's or RayService's cluster gets six characters more than its own name.
MAX_NAME_LENGTHS = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
OPERATORS_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/created-by")
START_RESOURCES = {"num-cpus": ("cpu",), "num-gpus": ("nvidia.com/gpu",), "memory": ("memory",), "resources": ()}
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def check_names(bundle: Bundle) -> Iterator[ManifestFinding]:
    """KubeRay cuts no name: one that is too long for the pods and services made from it is refused."""
    for one in bundle.of(*MAX_NAME_LENGTHS):
        most = MAX_NAME_LENGTHS[one.kind]
        if len(one.name) > most or not LABEL.fullmatch(one.name):
            yield ManifestFinding(
                "name", str(one), f"a name has at most {most} of a-z, 0-9 and -, and begins with a letter."
            )


def check_operator_versions(bundle: Bundle, ray: str, tandem: str) -> Iterator[ManifestFinding]:
    """All pods of a cluster run the Ray that is said, in an image of this version and for what the pod has."""
    for manifest, cluster in bundle.ray_clusters:
        if cluster.get("rayVersion") != ray:
            yield ManifestFinding(
                "version", str(manifest), f"rayVersion is {cluster.get('rayVersion')}, the image has {ray}."
            )
    for pod in bundle.pods:
        for container in pod.containers if pod.part in ("head", "worker", "submitter") else ():
            tag = str(container.get("image", "")).partition("@")[0].rpartition(":")[2]
            if not tag.startswith(tandem) and "@" not in str(container.get("image")):
                yield ManifestFinding(
                    "version", str(pod), f"the image is {container.get('image')}, and this is Tandem {tandem}."
                )
            if "nvidia.com/gpu" in (value_at(container, "resources.limits") or {}) and tag.endswith("-cpu"):
                yield ManifestFinding(
                    "version", str(pod), f"it has GPUs, and {container.get('image')} computes on CPUs."
                )


def check_token(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Whoever reaches Ray's dashboard may run anything: a token, from a Secret that outlives a cluster."""
    for manifest, cluster in bundle.ray_clusters:
        options = cluster.get("authOptions") or {}
        if options.get("mode") != "token" or not options.get("secretName"):
            yield ManifestFinding(
                "token", str(manifest), "authOptions needs mode: token and the secretName of the token."
            )
        elif not cluster.get("rayVersion"):
            yield ManifestFinding("token", str(manifest), "a token needs rayVersion (2.52 or newer).")


def check_autoscaling(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Numbers in order; autoscaler v2 replaces pods itself and refuses a restart policy."""
    for manifest, cluster in bundle.ray_clusters:
        scales = bool(cluster.get("enableInTreeAutoscaling"))
        for group in cluster.get("workerGroupSpecs", []):
            fewest, most, now = (group.get(key) for key in ("minReplicas", "maxReplicas", "replicas"))
            if None in (fewest, most) or not fewest <= (fewest if now is None else now) <= most:
                yield ManifestFinding(
                    "autoscaling", str(manifest), "minReplicas, replicas and maxReplicas are not in order."
                )
        if scales and value_at(cluster, "autoscalerOptions.version") == "v2":
            for template in _templates(cluster):
                if value_at(template, "spec.restartPolicy") not in (None, "Never"):
                    yield ManifestFinding(
                        "autoscaling", str(manifest), "autoscaler v2 needs restartPolicy Never, or none."
                    )
        if not scales and cluster.get("autoscalerOptions"):
            yield ManifestFinding(
                "autoscaling", str(manifest), "autoscalerOptions without enableInTreeAutoscaling do nothing."
            )


def check_set_once(bundle: Bundle) -> Iterator[ManifestFinding]:
    """An amount in rayStartParams and in the limits: Ray would count one and Kubernetes give the other."""
    for manifest, cluster in bundle.ray_clusters:
        for group in [cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])]:
            params = group.get("rayStartParams") or {}
            container = (value_at(group, "template.spec.containers") or [{}])[0]
            limits = value_at(container, "resources.limits") or {}
            for name, limited in START_RESOURCES.items():
                if name in params and (group.get("resources") or any(key in limits for key in limited)):
                    yield ManifestFinding(
                        "twice", str(manifest), f"{name} stands in rayStartParams and in the pod: keep one."
                    )


def check_labels(bundle: Bundle) -> Iterator[ManifestFinding]:
    """KubeRay's head service selects by these labels of its own."""
    for pod in bundle.pods:
        for key in set(OPERATORS_LABELS) & set(pod.labels) if pod.part in ("head", "worker") else ():
            yield ManifestFinding(
                "label", str(pod), f"{key} is KubeRay's: with another value its service finds no pod."
            )


def check_job_ends(bundle: Bundle) -> Iterator[ManifestFinding]:
    """How a RayJob ends, and what is removed then."""
    for one in bundle.of("RayJob"):
        spec, shuts = one.spec, bool(one.spec.get("shutdownAfterJobFinishes"))
        if not shuts and (spec.get("suspend") or spec.get("ttlSecondsAfterFinished")):
            yield ManifestFinding("end", str(one), "suspend and ttlSecondsAfterFinished need shutdownAfterJobFinishes.")
        if shuts and value_at(spec, "deletionStrategy.deletionRules"):
            yield ManifestFinding("end", str(one), "deletionRules and shutdownAfterJobFinishes exclude each other.")
        if not spec.get("activeDeadlineSeconds"):
            yield ManifestFinding("end", str(one), "without activeDeadlineSeconds a job that hangs keeps its nodes.")
        if spec.get("submissionMode", "K8sJobMode") == "K8sJobMode" and not spec.get("submitterPodTemplate"):
            yield ManifestFinding(
                "end", str(one), "KubeRay's own submitter pod is refused where pods are restricted: say one."
            )


def check_queues(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Kueue takes a cluster whose size does not change and which goes away; the queue exists."""
    for one in bundle.of("RayJob", "RayCluster"):
        queue = one.labels.get(QUEUE_LABEL)
        if queue is None:
            continue
        if cluster_spec(one).get("enableInTreeAutoscaling"):
            yield ManifestFinding(
                "queue", str(one), "what waits in a queue has a fixed size: no enableInTreeAutoscaling."
            )
        if one.kind == "RayJob" and not one.spec.get("shutdownAfterJobFinishes"):
            yield ManifestFinding(
                "queue", str(one), "what waits in a queue gives its nodes back: shutdownAfterJobFinishes."
            )
        if not bundle.has("LocalQueue", queue, one.namespace):
            yield ManifestFinding("queue", str(one), f"there is no LocalQueue {queue} in {one.namespace}.")
        covered = _covered_resources(bundle)
        for name in sorted(_asked_resources(bundle, one) - covered) if covered else ():
            yield ManifestFinding(
                "queue", str(one), f"it asks for {name}, which no ClusterQueue covers: it would never be admitted."
            )
    known = {one.name for one in bundle.of("ClusterQueue")}
    for one in bundle.of("LocalQueue"):
        if one.spec.get("clusterQueue") not in known:
            yield ManifestFinding("queue", str(one), f"there is no ClusterQueue {one.spec.get('clusterQueue')}.")


def _asked_resources(bundle: Bundle, one: Manifest) -> set[str]:
    """The names of what the pods of an object ask for."""
    containers = [container for pod in bundle.pods if pod.owner is one for container in pod.containers]
    return {name for each in containers for name in value_at(each, "resources.requests") or {}}


def _covered_resources(bundle: Bundle) -> set[str]:
    groups = [group for queue in bundle.of("ClusterQueue") for group in queue.spec.get("resourceGroups") or []]
    return {name for group in groups for name in group.get("coveredResources") or []}


def check_ray_services(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Requests reach pods in which a gateway listens, and a new version starts from nothing of the old one's."""
    for one in bundle.of("RayService"):
        cluster, spec = cluster_spec(one), one.spec
        if not spec.get("excludeHeadPodFromServeSvc"):
            yield ManifestFinding(
                "serving", str(one), "excludeHeadPodFromServeSvc: KubeRay asks Ray's own proxy, which is off."
            )
        if value_at(cluster, "gcsFaultToleranceOptions.externalStorageNamespace"):
            yield ManifestFinding(
                "serving", str(one), "externalStorageNamespace: the new cluster would read the old one's state."
            )
        ports = [_serve_port(template) for template in _templates(cluster)]
        if None in ports or len(set(ports)) > 1:
            yield ManifestFinding("serving", str(one), "head and workers need the same port with the name serve.")
        for group in cluster.get("workerGroupSpecs", []):
            container = (value_at(group, "template.spec.containers") or [{}])[0]
            if value_at(container, "readinessProbe.httpGet.path") != "/-/healthz":
                yield ManifestFinding(
                    "serving", str(one), "a worker is ready while /-/healthz answers: say it as httpGet."
                )
            if not group.get("minReplicas"):
                yield ManifestFinding(
                    "serving", str(one), "minReplicas: the endpoint looks at the first worker's hardware."
                )


def check_milvus_objects(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A Milvus cluster still takes Pulsar where nothing is said, and lets everybody in."""
    for one in bundle.of("Milvus"):
        if one.spec.get("mode") != "cluster":
            continue
        if value_at(one.spec, "dependencies.msgStreamType") != "woodpecker":
            yield ManifestFinding("milvus", str(one), "dependencies.msgStreamType: without woodpecker it is Pulsar.")
        if not value_at(one.spec, "config.common.security.authorizationEnabled"):
            yield ManifestFinding("milvus", str(one), "config.common.security.authorizationEnabled is not on.")
        if value_at(one.spec, "config.common.security.tlsMode") not in (1, 2):
            yield ManifestFinding("milvus", str(one), "config.common.security.tlsMode is off.")


def check_schedules(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A scheduled job has a zone, one run at a time, an end, and is not begun again where that repeats its work."""
    for one in bundle.of("CronJob"):
        spec = one.spec
        for field in ("timeZone", "startingDeadlineSeconds"):
            if not spec.get(field):
                yield ManifestFinding("schedule", str(one), f"{field} is missing.")
        if spec.get("concurrencyPolicy") != "Forbid":
            yield ManifestFinding("schedule", str(one), "concurrencyPolicy: Forbid, or a slow run meets the next one.")
        if not value_at(spec, "jobTemplate.spec.activeDeadlineSeconds"):
            yield ManifestFinding("schedule", str(one), "jobTemplate.spec.activeDeadlineSeconds is missing.")


def _templates(cluster: Values) -> list[Values]:
    groups = [cluster.get("headGroupSpec", {}), *cluster.get("workerGroupSpecs", [])]
    return [group.get("template", {}) for group in groups]


def _serve_port(template: Values) -> int | None:
    container = (value_at(template, "spec.containers") or [{}])[0]
    ports = [port["containerPort"] for port in container.get("ports", []) if port.get("name") == "serve"]
    return ports[0] if ports else None
