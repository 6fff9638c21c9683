"""The overlays as `kubectl kustomize` renders them, as they are or with every value set."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("dev", "gpu", "production")
# What a user sets, where the settings have a marker.
VALUES = {"TANDEM_IMAGE": "registry.example.com:5000/tandem:0.1.0-gpu", "BUCKET_ENDPOINT": "s3.example.com"}


@cache
def rendered(overlay: str, *, as_is: bool = False) -> str:
    """The YAML of an overlay; with `as_is` no value is set."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl: install it (any version from 1.27 on)")
    if as_is:
        return kustomize(K8S / "overlays" / overlay)
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(K8S, Path(folder) / "k8s"))
        set_values(copy / "overlays" / overlay / "project" / "settings.env")
        return kustomize(copy / "overlays" / overlay)


def kustomize(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_values(settings: Path, **values: str) -> None:
    """Write a value where CHANGE-ME stands."""
    lines = []
    for line in settings.read_text().splitlines():
        name, is_set, value = line.partition("=")
        if is_set and not name.startswith("#") and value == "CHANGE-ME":
            line = f"{name}={ {**VALUES, **values}.get(name, 'example') }"
        lines.append(line)
    settings.write_text("\n".join(lines) + "\n")
