"""`tandem export`: a published version as a folder, as it is or merged into its base."""

import shutil
import uuid
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from tandem.commands.options import DEFAULT, ProjectFile
from tandem.console import Console
from tandem.project.project import Project, load


def export(
    to: Annotated[Path, typer.Option(help="A folder that is empty or does not exist yet.")],
    adapter: Annotated[
        str | None, typer.Argument(help="Such as support or support@7. Without: the project's adapter.")
    ] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Write a whole model instead of an adapter.")] = False,
    config: ProjectFile = DEFAULT,
) -> None:
    """Write a published version to a folder.

    The folder appears whole or not at all.
    """
    version = export_version(load(config), adapter, to, merged=merged)
    Console().result(f"{version.name}@{version.version} is at {to}", None)


def export_version(project: Project, adapter: str | None, to: Path, *, merged: bool) -> AdapterVersion:
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
    version = Registry.of(project.storage).resolve(name, number or "live")
    to = to.expanduser().resolve()
    _refuse_full_folder(to)
    merges = merged and version.manifest.kind == "adapter"
    if merges:
        _refuse_other_base(version, project)
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    try:
        if merges:
            # It loads PyTorch, which takes about three seconds.
            from training.publish.weights import merge_adapter

            merge_adapter(project.model, version.path, beside)
        else:
            shutil.copytree(version.path, beside)
        beside.rename(to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return version


def _refuse_full_folder(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise TandemError(
            f"{to} exists already and is not an empty folder.",
            "A folder that is empty or does not exist yet.",
            "Name another with `--to`, or remove it.",
        )


def _refuse_other_base(version: AdapterVersion, project: Project) -> None:
    if digest_model(project.model) != version.manifest.base_digest:
        raise TandemError(
            f"{version.name}@{version.version} was trained on other weights than those of {project.model}.",
            f"The model that it was trained on: {version.manifest.base_model}.",
            "Set `model` in the project file to that model, or export without `--merged`.",
        )
