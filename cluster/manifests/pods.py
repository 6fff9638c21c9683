"""What every pod must have: amounts, a fixed image, no privilege, volumes to write to, no secret in plain sight."""

import re
from collections.abc import Iterator

from cluster.manifests.bundle import Bundle, ManifestFinding, Pod, Values, all_texts, value_at

UNSET = "CHANGE-ME"
_SECRET_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY|CREDENTIALS)$", re.IGNORECASE
)
_URL_WITH_PASSWORD = re.compile(r"[a-z]+://[^/\s:@]*:(?!\$\{)[^/\s@$]+@")
_IMAGE = re.compile(r"(?P<name>[^@]+?)(:(?P<tag>[\w][\w.-]*))?(@sha256:(?P<digest>[0-9a-f]{64}))?")
DROPPED_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")


def check_unset_values(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A value that the user has to set is still at its marker. One of the settings is named once, not where it goes."""
    settings = {
        key for one in bundle.of("ConfigMap") if one.name.startswith("tandem-settings")
        for key, value in (one.values.get("data") or {}).items() if UNSET in str(value)
    }  # fmt: skip
    for name in sorted(settings):
        yield ManifestFinding("unset", "settings.env", f"{name} is not set: write its value there.")
    for manifest in bundle.manifests if not settings else ():
        for path, text in all_texts(manifest.values):
            if UNSET in text:
                yield ManifestFinding("unset", str(manifest), f"{path} is not set.")


def check_resources(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Every container says what it needs and what it may take."""
    for pod in _ours(bundle):
        for container in pod.containers:
            for side in ("requests", "limits"):
                amounts = value_at(container, f"resources.{side}") or {}
                for name in ("cpu", "memory"):
                    if name not in amounts:
                        yield _of(pod, container, "resources", f"resources.{side}.{name} is missing.")
            yield from _devices(pod, container)
    for manifest, cluster in bundle.ray_clusters:
        if cluster.get("enableInTreeAutoscaling"):
            options = cluster.get("autoscalerOptions") or {}
            if not value_at(options, "resources.requests") or not value_at(options, "resources.limits"):
                yield ManifestFinding(
                    "resources", str(manifest), "autoscalerOptions.resources has no requests or no limits."
                )


def _devices(pod: Pod, container: Values) -> Iterator[ManifestFinding]:
    """Kubernetes gives devices (names with a slash) whole: requests and limits of one are the same number."""
    requests, limits = (value_at(container, f"resources.{side}") or {} for side in ("requests", "limits"))
    for name in sorted({name for name in (*requests, *limits) if "/" in name}):
        if name not in limits or str(requests.get(name, limits[name])) != str(limits[name]):
            text = f"requests of {name} are {requests.get(name)}, limits {limits.get(name)}: they are the same number."
            yield _of(pod, container, "resources", text)


def check_images(bundle: Bundle) -> Iterator[ManifestFinding]:
    """An image is named by a version or a digest: `latest` is another image tomorrow."""
    for pod in _ours(bundle):
        for container in pod.containers:
            match = _IMAGE.fullmatch(str(container.get("image", "")))
            if not match or not (match["tag"] or match["digest"]) or match["tag"] == "latest":
                yield _of(pod, container, "image", f"image {container.get('image')!r} has no fixed tag or digest.")
    for manifest in bundle.of("Milvus"):
        image = str(value_at(manifest.spec, "components.image") or "")
        match = _IMAGE.fullmatch(image)
        if not match or not (match["tag"] or match["digest"]) or match["tag"] == "latest":
            yield ManifestFinding("image", str(manifest), f"components.image {image!r} has no fixed tag or digest.")


def check_secrets(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A secret stands in a Secret of the cluster, which is made apart, never in a manifest."""
    for manifest in bundle.of("Secret"):
        if manifest.values.get("data") or manifest.values.get("stringData"):
            yield ManifestFinding(
                "secret", str(manifest), "its values stand in the manifest: make it apart (docs/kubernetes.md)."
            )
    for pod in _ours(bundle):
        for container in pod.containers:
            for one in container.get("env", []):
                if one.get("value") and _SECRET_NAME.search(one["name"]):
                    yield _of(pod, container, "secret", f"{one['name']} has its value here: take it from a Secret.")
    for manifest in bundle.of("ConfigMap"):
        for key in manifest.values.get("data") or {}:
            if _SECRET_NAME.search(key):
                yield ManifestFinding("secret", str(manifest), f"{key} belongs into a Secret.")
    for manifest in bundle.manifests:
        for path, text in all_texts(manifest.values):
            if _URL_WITH_PASSWORD.search(text):
                yield ManifestFinding("secret", str(manifest), f"{path} has a URL with a password in it.")


def check_security(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Kubernetes' `restricted` standard, and a root file system that nothing writes to."""
    for pod in _ours(bundle):
        spec = pod.spec
        for field in DROPPED_FIELDS:
            if spec.get(field):
                yield ManifestFinding("security", str(pod), f"{field} is on.")
        for volume in spec.get("volumes", []):
            if not set(volume) & set(VOLUMES):
                yield ManifestFinding(
                    "security", str(pod), f"volume {volume['name']} is of a kind that `restricted` refuses."
                )
        for container in pod.containers:
            for wrong in _insecure(container.get("securityContext") or {}, spec.get("securityContext") or {}):
                yield _of(pod, container, "security", wrong)
    for manifest, cluster in bundle.ray_clusters:
        if cluster.get("enableInTreeAutoscaling"):
            own = value_at(cluster, "autoscalerOptions.securityContext") or {}
            of_pod = value_at(cluster, "headGroupSpec.template.spec.securityContext") or {}
            for wrong in _insecure(own, of_pod):
                yield ManifestFinding("security", f"{manifest} (autoscaler)", wrong)
    for namespace in bundle.of("Namespace"):
        if namespace.labels.get("pod-security.kubernetes.io/enforce") not in ("restricted", "baseline"):
            yield ManifestFinding("security", str(namespace), "pod-security.kubernetes.io/enforce is not set.")


def check_volumes(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A mount names a volume, and what Ray writes to has one: /tmp, HOME and /dev/shm."""
    for pod in _ours(bundle):
        known = {volume["name"] for volume in pod.spec.get("volumes", [])}
        known |= {claim["metadata"]["name"] for claim in pod.owner.spec.get("volumeClaimTemplates", [])}
        is_ray = pod.part in ("head", "worker")
        for container in pod.containers:
            mounts = container.get("volumeMounts", [])
            for mount in mounts:
                if mount["name"] not in known:
                    yield _of(pod, container, "volume", f"it mounts {mount['name']!r}, which is no volume of the pod.")
            home = next((one["value"] for one in container.get("env", []) if one["name"] == "HOME"), None)
            needed = ["/tmp", "/dev/shm", home or "HOME (not set)"] if is_ray else []
            for path in needed:
                if path not in [mount["mountPath"] for mount in mounts]:
                    yield _of(pod, container, "volume", f"Ray writes to {path}, and nothing is mounted there.")
            if is_ray and (lost := _lost_cache(pod.spec, container)):
                yield _of(pod, container, "volume", lost)


def _lost_cache(spec: Values, container: Values) -> str | None:
    """Why the next pod would compile again what this one compiled, where TANDEM_COMPILED is set and on no claim.

    Manifests of earlier versions do not set it: their pods compile at each start.
    """
    path = next((one.get("value", "") for one in container.get("env", []) if one["name"] == "TANDEM_COMPILED"), None)
    claims = {volume["name"] for volume in spec.get("volumes", []) if "persistentVolumeClaim" in volume}
    folders = [mount["mountPath"] for mount in container.get("volumeMounts", []) if mount["name"] in claims]
    if path is None or any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders):
        return None
    return (
        f"TANDEM_COMPILED is {path or 'empty'}: it is a folder of a claim, so that what is compiled outlives the pod."
    )


def check_probes(bundle: Bundle) -> Iterator[ManifestFinding]:
    """A probe that names a port names one of its container."""
    for pod in _ours(bundle):
        for container in pod.containers:
            names = [port.get("name") for port in container.get("ports", [])]
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    port = value_at(container, f"{kind}.{action}.port")
                    if isinstance(port, str) and port not in names:
                        yield _of(pod, container, "probe", f"{kind} asks port {port!r}, which the container lacks.")


def _insecure(own: Values, of_pod: Values) -> Iterator[str]:
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false."
    if (own.get("capabilities") or {}).get("drop") != ["ALL"] or (own.get("capabilities") or {}).get("add"):
        yield "capabilities are not all dropped."
    if not own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) or own.get("runAsUser", of_pod.get("runAsUser")) == 0:
        yield "it may run as root."
    if not own.get("readOnlyRootFilesystem"):
        yield "its root file system can be written."
    profile = own.get("seccompProfile") or of_pod.get("seccompProfile") or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccompProfile."


def _ours(bundle: Bundle) -> list[Pod]:
    return [pod for pod in bundle.pods if pod.is_ours]


def _of(pod: Pod, container: Values, rule: str, text: str) -> ManifestFinding:
    return ManifestFinding(rule, f"{pod} container {container.get('name')}", text)
