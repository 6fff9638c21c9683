"""`tandem export`: a published version as a folder of its own, as it is or merged into its base."""

import shutil
import uuid
from pathlib import Path

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from tandem.project.project import Project


def export(project: Project, adapter: str | None, to: Path, *, merged: bool) -> AdapterVersion:
    """Write a version to the folder `to`, which appears whole or not at all.

    Args:
        adapter: a name, whose live version is taken, or name@version; None for the project's adapter.
        merged: a whole model, as transformers and vLLM load it, in place of an adapter.

    Raises:
        TandemError: no such version, `to` holds something, or the project's model is not the version's base.
    """
    name, at, number = (adapter or project.adapter).partition("@")
    if at and not (number.isascii() and number.isdecimal()):
        raise TandemError(
            f"{adapter!r} names no version.", "A name, or name and number: support@7.", "See `tandem adapters list`."
        )
    found = Registry.of(project.storage).resolve(name, number or "live")
    to = to.expanduser().resolve()
    _check_empty(to)
    merges = merged and found.manifest.kind == "adapter"
    if merges:
        _check_base(found, project)
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    try:
        if merges:
            from training.publish.weights import merge

            merge(project.model, found.path, beside)
        else:
            shutil.copytree(found.path, beside)
        beside.rename(to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return found


def _check_empty(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise TandemError(
            f"{to} exists already and is not an empty folder.",
            "A folder that is empty or does not exist yet.",
            "Name another with `--to`, or remove it.",
        )


def _check_base(found: AdapterVersion, project: Project) -> None:
    if digest_model(project.model) != found.manifest.base_digest:
        raise TandemError(
            f"{found.name}@{found.version} was trained on other weights than those of {project.model}.",
            f"The model that it was trained on: {found.manifest.base_model}.",
            "Set `model` in the project file to that model, or export without `--merged`.",
        )
