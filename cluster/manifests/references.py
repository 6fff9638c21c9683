"""Every name that a manifest says stands for something: in the manifests, or made by the user as the docs say."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.manifests.bundle import MILVUS_PORTS, Bundle, ManifestFinding, Pod, Values, selector_matches, value_at

# Secrets that the user makes, by namespace, with their keys (docs/kubernetes.md has the commands).
USERS_SECRETS: dict[str, dict[str, tuple[str, ...]]] = {
    "tandem": {
        "ray-token": ("auth_token",),
        "tandem-secrets": ("REDIS_PASSWORD", "MILVUS_TOKEN", "HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        "tandem-tls": ("tls.crt", "tls.key"),
        "milvus-ca": ("ca.crt",),
    },
    "tandem-milvus": {
        "milvus-tls": ("tls.crt", "tls.key", "ca.crt"),
        "milvus-root": ("password",),
        "milvus-bucket": ("accesskey", "secretkey"),
    },
}


@dataclass(frozen=True)
class ServiceOf:
    """A Service, in the manifests or made by an operator: what it selects, and its ports with the pods' own."""

    name: str
    namespace: str
    owner: str
    pods: tuple[Pod, ...]
    ports: dict[int, int | str]


def list_services(bundle: Bundle) -> list[ServiceOf]:
    """Those in the manifests, and those that KubeRay and the Milvus operator make."""
    services = []
    for one in bundle.of("Service"):
        selected = select_pods(bundle, one.namespace, {"matchLabels": one.spec.get("selector") or {}})
        ports = {int(port["port"]): port.get("targetPort", port["port"]) for port in one.spec.get("ports", [])}
        services.append(ServiceOf(one.name, one.namespace, str(one), selected, ports))
    for one in bundle.of("RayCluster", "RayJob", "RayService"):
        own = [pod for pod in bundle.pods if pod.owner is one or pod.owner == one]
        heads = tuple(pod for pod in own if pod.part == "head")
        dashboard: dict[int, int | str] = {8265: "dashboard"}
        services.append(ServiceOf(f"{one.name}-head-svc", one.namespace, str(one), heads, dashboard))
        if one.kind == "RayService":
            workers = tuple(pod for pod in own if pod.part == "worker")
            ports = {pod.ports["serve"]: "serve" for pod in heads if "serve" in pod.ports}
            services.append(ServiceOf(f"{one.name}-serve-svc", one.namespace, str(one), workers, dict(ports)))
    for one in bundle.of("Milvus"):
        part = "proxy" if one.spec.get("mode") == "cluster" else "standalone"
        proxies = tuple(pod for pod in bundle.pods if pod.owner == one and pod.part == part)
        services.append(ServiceOf(f"{one.name}-milvus", one.namespace, str(one), proxies, {19530: "milvus"}))
    return services


def port_number(pod: Pod, port: int | str) -> int | None:
    """The number of a port that may be a name; an operator's own pods have the ports that they are known for."""
    return port if isinstance(port, int) else (pod.ports or MILVUS_PORTS).get(port)


def select_pods(bundle: Bundle, namespace: str, selector: Values | None) -> tuple[Pod, ...]:
    return tuple(pod for pod in bundle.pods if pod.namespace == namespace and selector_matches(selector, pod.labels))


def check_references(bundle: Bundle) -> Iterator[ManifestFinding]:
    """ConfigMaps, Secrets, claims, accounts and priorities are there, or on the list of what the user makes."""
    for pod in bundle.pods:
        for kind, name, key in _named(pod):
            if kind == "Secret":
                keys = USERS_SECRETS.get(pod.namespace, {}).get(name)
                missing = keys is None and not bundle.has("Secret", name, pod.namespace)
                if missing or (keys and key and key not in keys):
                    yield ManifestFinding(
                        "reference", str(pod), f"Secret {name}{f' key {key}' if key else ''} is not known."
                    )
            elif not bundle.has(kind, name, "" if kind == "PriorityClass" else pod.namespace):
                yield ManifestFinding("reference", str(pod), f"there is no {kind} {name} in {pod.namespace}.")
    for manifest, cluster in bundle.ray_clusters:
        token = value_at(cluster, "authOptions.secretName")
        if token and token not in USERS_SECRETS.get(manifest.namespace, {}):
            yield ManifestFinding("reference", str(manifest), f"Secret {token} is not known.")


def check_selectors(bundle: Bundle) -> Iterator[ManifestFinding]:
    """What selects pods selects at least one."""
    for service in list_services(bundle):
        if not service.pods:
            yield ManifestFinding("selector", service.owner, f"Service {service.name} selects no pod.")
    for one in bundle.of("PodDisruptionBudget", "PodMonitor", "NetworkPolicy"):
        selector = one.spec.get("podSelector") if one.kind == "NetworkPolicy" else one.spec.get("selector")
        if not select_pods(bundle, one.namespace, selector):
            yield ManifestFinding("selector", str(one), "it selects no pod.")
    for one in bundle.of("Deployment", "StatefulSet"):
        if not selector_matches(one.spec.get("selector"), value_at(one.values, "spec.template.metadata.labels") or {}):
            yield ManifestFinding("selector", str(one), "its selector does not take its own pods.")


def check_ports(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A port that is named is one of the pods; a route leads to a service that has it."""
    known = list_services(bundle)
    for service in known:
        for number, target in service.ports.items():
            for pod in service.pods:
                if pod.is_ours and port_number(pod, target) not in pod.ports.values():
                    yield ManifestFinding(
                        "port", service.owner, f"Service {service.name} {number}: {pod} has no port {target}."
                    )
    for one in bundle.of("PodMonitor"):
        pods = select_pods(bundle, one.namespace, one.spec.get("selector"))
        for endpoint in one.spec.get("podMetricsEndpoints", []):
            # The submitter of a job is in the same group and exports nothing.
            if not any(endpoint.get("port") in pod.ports for pod in pods):
                yield ManifestFinding("port", str(one), f"no pod has a port {endpoint.get('port')}.")
    for name, namespace, port, where in _routes(bundle):
        if not any(one.name == name and one.namespace == namespace and port in one.ports for one in known):
            yield ManifestFinding("port", where, f"there is no Service {name} with port {port} in {namespace}.")


def _named(pod: Pod) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key of what a pod takes from other objects."""
    spec = pod.spec
    for kind, field in (("ServiceAccount", "serviceAccountName"), ("PriorityClass", "priorityClassName")):
        if spec.get(field):
            yield kind, spec[field], None
    for volume in spec.get("volumes", []):
        for kind, path in (("ConfigMap", "configMap.name"), ("Secret", "secret.secretName"),
                           ("PersistentVolumeClaim", "persistentVolumeClaim.claimName")):  # fmt: skip
            if name := value_at(volume, path):
                yield kind, name, None
    for container in pod.containers:
        for one in container.get("env", []):
            yield from _keyed(one.get("valueFrom") or {})
        for one in container.get("envFrom", []):
            if name := value_at(one, "configMapRef.name"):
                yield "ConfigMap", name, None
            if name := value_at(one, "secretRef.name"):
                yield "Secret", name, None


def _keyed(source: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        if one := source.get(field):
            yield kind, one.get("name", ""), one.get("key")


def _routes(bundle: Bundle) -> Iterator[tuple[str, str, int, str]]:
    for one in bundle.of("HTTPRoute"):
        for rule in one.spec.get("rules", []):
            for backend in rule.get("backendRefs", []):
                yield backend["name"], backend.get("namespace", one.namespace), backend.get("port", 0), str(one)
        for parent in one.spec.get("parentRefs", []):
            if not bundle.has("Gateway", parent["name"], parent.get("namespace", one.namespace)):
                yield f"Gateway {parent['name']}", one.namespace, 0, str(one)
    for one in bundle.of("Ingress"):
        for rule in one.spec.get("rules", []):
            for path in value_at(rule, "http.paths") or []:
                service = value_at(path, "backend.service") or {}
                yield service.get("name", ""), one.namespace, value_at(service, "port.number") or 0, str(one)
