"""Manifests that are applied together, and the pods that they lead to, whoever makes these in the end.

bundle = Bundle.read(text)
for pod in bundle.pods: ...
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from cluster.errors import TandemError

Values = dict[str, Any]
RAY_KINDS = ("RayCluster", "RayJob", "RayService")
MILVUS_PARTS = ("proxy", "mixcoord", "querynode", "datanode", "streamingnode")
MILVUS_PORTS = {"milvus": 19530, "metrics": 9091}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML has its C part
_TEMPLATES = {
    "Deployment": "spec.template",
    "StatefulSet": "spec.template",
    "DaemonSet": "spec.template",
    "Job": "spec.template",
    "CronJob": "spec.jobTemplate.spec.template",
}


@dataclass(frozen=True)
class ManifestFinding:
    """One thing that is wrong: the rule, the object, and what to change."""

    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} [{self.rule}]"


@dataclass(frozen=True)
class Manifest:
    """One object."""

    values: Values

    @property
    def kind(self) -> str:
        return str(self.values.get("kind", ""))

    @property
    def name(self) -> str:
        return str(self.values.get("metadata", {}).get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.values.get("metadata", {}).get("namespace", ""))

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.values.get("metadata", {}).get("labels") or {})

    @property
    def spec(self) -> Values:
        return dict(self.values.get("spec") or {})

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """A pod template inside an object. `part` is head, worker or submitter where Ray has several."""

    owner: Manifest
    part: str
    template: Values

    @property
    def spec(self) -> Values:
        return dict(self.template.get("spec") or {})

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template.get("metadata", {}).get("labels") or {})

    @property
    def namespace(self) -> str:
        return self.owner.namespace

    @property
    def containers(self) -> list[Values]:
        return [*self.spec.get("containers", []), *self.spec.get("initContainers", [])]

    @property
    def ports(self) -> dict[str, int]:
        """Port numbers by name."""
        listed = (port for container in self.containers for port in container.get("ports", []))
        return {port.get("name", str(port["containerPort"])): int(port["containerPort"]) for port in listed}

    @property
    def is_ours(self) -> bool:
        """Whether the manifests say what is in it; an operator's own pods are known by their labels only."""
        return bool(self.containers)

    def __str__(self) -> str:
        return f"{self.owner} ({self.part})" if self.part else str(self.owner)


@dataclass(frozen=True)
class Bundle:
    """All objects of one overlay."""

    manifests: tuple[Manifest, ...]

    @classmethod
    def read(cls, text: str, name: str = "the manifests") -> "Bundle":
        """Raises TandemError: it is not YAML, or a document in it is no object."""
        try:
            documents = [document for document in yaml.load_all(text, _LOADER) if document is not None]
        except yaml.YAMLError as error:
            raise TandemError(
                f"{name} is not YAML ({str(error).splitlines()[0]}).",
                "What `kubectl kustomize FOLDER` prints.",
                "Render the overlay again.",
            ) from error
        if not documents or not all(isinstance(one, dict) and "kind" in one for one in documents):
            raise TandemError(
                f"{name} holds {'no manifest' if not documents else 'something that is no manifest'}.",
                "Objects with a kind, as `kubectl kustomize FOLDER` prints them.",
                "Check which file was given.",
            )
        return cls(tuple(map(Manifest, documents)))

    def of(self, *kinds: str) -> list[Manifest]:
        return [one for one in self.manifests if one.kind in kinds]

    def has(self, kind: str, name: str, namespace: str = "") -> bool:
        return any(one.name == name and one.namespace == namespace for one in self.of(kind))

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        return tuple(pod for manifest in self.manifests for pod in pods_of(manifest))

    @property
    def ray_clusters(self) -> list[tuple[Manifest, Values]]:
        """Each object with the RayCluster's spec in it."""
        return [(one, cluster_spec(one)) for one in self.of(*RAY_KINDS)]


def pods_of(manifest: Manifest) -> Iterator[Pod]:
    """The pods that an object leads to."""
    if manifest.kind == "Pod":
        yield Pod(manifest, "", manifest.values)
    elif manifest.kind in _TEMPLATES:
        yield Pod(manifest, "", value_at(manifest.values, _TEMPLATES[manifest.kind]) or {})
    elif manifest.kind in RAY_KINDS:
        cluster = cluster_spec(manifest)
        yield Pod(manifest, "head", value_at(cluster, "headGroupSpec.template") or {})
        for group in cluster.get("workerGroupSpecs", []):
            yield Pod(manifest, "worker", group.get("template", {}))
        if manifest.kind == "RayJob":
            yield Pod(manifest, "submitter", manifest.spec.get("submitterPodTemplate", {}))
    elif manifest.kind == "Milvus":
        for part in MILVUS_PARTS if manifest.spec.get("mode") == "cluster" else ("standalone",):
            labels = {"app.kubernetes.io/name": "milvus", "app.kubernetes.io/instance": manifest.name,
                      "app.kubernetes.io/component": part}  # fmt: skip
            yield Pod(manifest, part, {"metadata": {"labels": labels}})


def cluster_spec(manifest: Manifest) -> Values:
    key = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}.get(manifest.kind)
    return dict(manifest.spec.get(key) or {}) if key else manifest.spec


def value_at(values: Any, path: str) -> Any:
    """What stands at a path with dots, or None."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def all_texts(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string with its path."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from all_texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from all_texts(value, f"{path}.{index}")
    elif isinstance(values, str):
        yield path, values


def selector_matches(selector: Values | None, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    selector = selector or {}
    plain = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return plain and all(_holds(one, labels) for one in selector.get("matchExpressions") or [])


def _holds(expression: Values, labels: dict[str, str]) -> bool:
    value, listed = labels.get(expression["key"]), expression.get("values") or []
    return {
        "In": value in listed, "NotIn": value not in listed, "Exists": value is not None, "DoesNotExist": value is None,
    }[expression["operator"]]  # fmt: skip
