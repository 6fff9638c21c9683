"""Kubernetes' own kinds against its schemas, and the overlays' files against each other."""

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cluster.manifests.bundle import Bundle, value_at
from tandem.commands.cluster.render_check import read_project
from tests.k8s.overlays import K8S, OVERLAYS, ROOT, rendered
from tests.requirements.test_setup import pins

VERSION = "1.33"  # of Kubernetes: the oldest that is still mended when this was written
CUSTOM = ("ray.io", "milvus.io", "monitoring.coreos.com", "kueue.x-k8s.io", "gateway.networking.k8s.io")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_built_in_kinds_are_as_their_schemas_say(overlay: str) -> None:
    checked = 0
    for manifest in Bundle.read(rendered(overlay)).manifests:
        if not str(manifest.values["apiVersion"]).startswith(CUSTOM):
            kubernetes_validate.validate(manifest.values, VERSION, strict=True)
            checked += 1
    assert checked >= 20


def test_a_wrong_field_of_a_built_in_kind_is_found() -> None:
    wrong = next(one for one in Bundle.read(rendered("dev")).of("StatefulSet")).values
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_of_ray_are_as_the_schema_of_pods_says(overlay: str) -> None:
    """A CRD's schema knows their fields too; here they are checked where no CRDs are at hand."""
    for pod in Bundle.read(rendered(overlay)).pods:
        if pod.is_ours:
            as_pod = {"apiVersion": "v1", "kind": "Pod", **pod.template}
            kubernetes_validate.validate(as_pod, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_is_used(overlay: str) -> None:
    """A value that nothing reads would be set in vain."""
    bundle = Bundle.read(rendered(overlay))
    folder = K8S / "overlays" / overlay
    components = (K8S / "components").rglob("kustomization.yaml")
    used = "".join(file.read_text() for file in (folder / "kustomization.yaml", *components))
    project = (folder / "project" / "tandem.yaml").read_text()
    for name in next(one for one in bundle.of("ConfigMap") if one.name.startswith("tandem-settings")).values["data"]:
        assert f"data.{name}}}" in used or f"${{{name}}}" in project, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_with_a_hash_are_found_again(overlay: str) -> None:
    """A changed project file is a changed pod, so that KubeRay rolls it out."""
    bundle = Bundle.read(rendered(overlay))
    (project,) = [one for one in bundle.of("ConfigMap") if one.name.startswith("tandem-project")]
    assert re.fullmatch(r"tandem-project-[a-z0-9]{10}", project.name)
    mounted = {
        value_at(volume, "configMap.name") for pod in bundle.pods if pod.part in ("head", "worker") and pod.is_ours
        for volume in pod.spec["volumes"] if volume["name"] == "project"
    }  # fmt: skip
    assert mounted == {project.name}


def test_the_production_project_reads_its_settings_and_reaches_milvus_over_tls() -> None:
    bundle = Bundle.read(rendered("production"))
    project = read_project(bundle, next(one for one in bundle.of("ConfigMap") if one.name.startswith("tandem-project")))
    assert (project.training.workers.min, project.training.workers.max) == (2, 4)
    assert (project.serving.num_replicas.min, project.serving.num_replicas.max) == (2, 8)
    assert project.retrieval.uri.startswith("https://tandem-milvus.tandem-milvus:")
    assert str(project.retrieval.milvus.ca_file) == "/etc/milvus-ca/ca.crt"


def test_versions_of_manifests_and_lock_are_the_same() -> None:
    for file in K8S.rglob("ray*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"].startswith("Ray"):
                found = re.findall(r"rayVersion: (\S+)", file.read_text())
                assert found == [pins("cpu")["ray"]], file
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    images = {text for file in K8S.rglob("*.yaml") for text in re.findall(r"image: (tandem:\S+)", file.read_text())}
    assert images == {f"tandem:{version[1]}-cpu"}


def test_the_dashboard_is_in_its_config_map() -> None:
    bundle = Bundle.read(rendered("production"))
    data = next(one for one in bundle.of("ConfigMap") if one.name == "tandem-dashboard").values["data"]
    panels: dict[str, Any] = json.loads(data["serving.json"])
    assert panels["uid"] == "tandem-serving"
