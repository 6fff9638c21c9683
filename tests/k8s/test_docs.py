"""What docs/kubernetes.md shows is computed from the manifests; `python -m tests.k8s.test_docs` writes it again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.manifests import schemas
from cluster.manifests.bundle import Bundle
from cluster.manifests.network_policies import connection_paths, network_diagram
from cluster.manifests.references import USERS_SECRETS
from tests.k8s.overlays import K8S, ROOT, kustomize, rendered

DOCS = ROOT / "docs" / "kubernetes.md"
CHUNKS = {"1m": ("1M", 10**6), "10m": ("10M", 10**7), "100m": ("100M", 10**8)}
DIMS, M, WORDS, REPLICAS, FILLED = 384, 16, 120 * 8, 2, 0.7
GIB = 2**30


def secrets_table() -> str:
    rows = [
        f"| `{namespace}` | `{name}` | {', '.join(f'`{key}`' for key in keys)} |"
        for namespace, secrets in USERS_SECRETS.items() for name, keys in secrets.items()
    ]  # fmt: skip
    return "\n".join(["| namespace | Secret | keys |", "|---|---|---|", *rows])


def query_nodes(size: str) -> tuple[int, int]:
    """Number of query nodes of a size, and the memory of each in GiB."""
    component: dict[str, Any] = yaml.safe_load((K8S / "base/milvus/sizes" / size / "kustomization.yaml").read_text())
    node = yaml.safe_load(component["patches"][0]["patch"])["spec"]["components"]["queryNode"]
    return node["replicas"], int(node["resources"]["requests"]["memory"].removesuffix("Gi"))


def needed_gib(chunks: int) -> float:
    a_chunk = DIMS * 4 + round(2 * M * 4 * 1.1) + WORDS
    return chunks * a_chunk * REPLICAS / FILLED / GIB


def sizes_table() -> str:
    lines = ["| chunks | memory needed | query nodes | memory with one gone |", "|--:|--:|---|--:|"]
    for size, (name, chunks) in CHUNKS.items():
        nodes, each = query_nodes(size)
        left = (nodes - 1) * each
        lines.append(f"| {name} | {needed_gib(chunks):.0f} GiB | {nodes} × {each} GiB | {left} GiB |")
    return "\n".join(lines)


def network() -> str:
    return f"```mermaid\n{network_diagram(Bundle.read(rendered('production')))}\n```"


TABLES = {"secrets": secrets_table, "sizes": sizes_table, "network": network}


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}:start -->\n)(.*?)(<!-- {name}:end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_what_is_shown_is_what_is_there(name: str) -> None:
    found = between(name).search(DOCS.read_text())
    assert found and found[2].strip() == TABLES[name](), "write it again: python -m tests.k8s.test_docs"


def test_what_the_pods_of_dev_ask_for() -> None:
    bundle = Bundle.read(rendered("dev"))
    asked = [container["resources"]["requests"] for pod in bundle.pods for container in pod.containers]
    asked += [
        cluster["autoscalerOptions"]["resources"]["requests"]
        for _, cluster in bundle.ray_clusters if "autoscalerOptions" in cluster
    ]  # fmt: skip
    cpus = sum(float(one["cpu"].removesuffix("m")) / (1000 if one["cpu"].endswith("m") else 1) for one in asked)
    assert (cpus, sum(int(one["memory"].removesuffix("Gi")) for one in asked)) == (7, 25)
    assert "seven CPUs and 25 GiB" in DOCS.read_text()


@pytest.mark.parametrize("size", CHUNKS)
def test_a_size_holds_its_chunks_with_one_node_gone(size: str) -> None:
    nodes, each = query_nodes(size)
    assert (nodes - 1) * each >= needed_gib(CHUNKS[size][1])


@pytest.mark.parametrize("size", CHUNKS)
def test_each_size_renders(size: str, tmp_path: Path) -> None:
    rendered("production")  # skips where there is no kubectl
    overlay = shutil.copytree(K8S, tmp_path / "k8s") / "overlays" / "production"
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("sizes/1m", f"sizes/{size}"))
    (milvus,) = Bundle.read(kustomize(overlay)).of("Milvus")
    assert milvus.spec["components"]["queryNode"]["replicas"] == query_nodes(size)[0]


def test_only_those_reach_the_endpoint_and_the_dashboard_that_are_meant_to() -> None:
    allowed = connection_paths(Bundle.read(rendered("production")))
    into = {(one.caller, one.port) for one in allowed if one.called == "serve-worker"}
    assert into == {
        ("namespace example", "8000"), ("pods with tandem/client=true", "8000"), ("namespace monitoring", "8080"),
        ("serve-head", "all"), ("serve-worker", "all"),
    }  # fmt: skip
    dashboards = {one.caller for one in allowed if one.called == "cluster-head" and one.port in ("8265", "all")}
    assert dashboards == {"namespace kuberay-operator", "schedule", "cluster-head", "cluster-worker"}
    assert {one.caller for one in allowed if one.called == "redis"} == {"serve-head", "serve-worker"}


def test_the_command_that_exports_schemas_writes_what_the_check_reads(tmp_path: Path) -> None:
    program = re.search(r"python3 -c '\n(.*?)'\n", DOCS.read_text(), re.DOTALL)
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "schema": {"openAPIV3Schema": schema}}
    crd = {"spec": {"group": "example.com", "names": {"kind": "Thing"}, "versions": [version]}}
    (tmp_path / "crds").mkdir()
    assert program
    command = [sys.executable, "-c", program[1]]
    subprocess.run(command, input=json.dumps({"items": [crd]}), text=True, check=True, cwd=tmp_path)
    wrong = Bundle.read("{apiVersion: example.com/v1, kind: Thing, metadata: {name: a}, spec: {size: 1, colour: red}}")
    (found,) = schemas.check_schemas(wrong, tmp_path / "crds")
    assert "colour" in found.text


if __name__ == "__main__":
    text = DOCS.read_text()
    for name, table in TABLES.items():
        start, _, end = between(name).split(text)[1:4]
        text = text.replace(between(name).search(text)[0], f"{start}{table()}\n{end}")  # type: ignore[index]
    DOCS.write_text(text)
