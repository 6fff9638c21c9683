"""The served models that a version has to agree with the trainer on: its base, and copies of it in other numbers."""

from dataclasses import dataclass

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from serving.deploy.run import base_models
from tandem.project.project import Project
from training.publish.publish import result_kind


@dataclass(frozen=True)
class CheckedModel:
    """A model that a version is checked on: its name at the endpoint, and where it is."""

    name: str
    source: str
    original: str | None = None
    """For a copy in other numbers: the model that it was made from, as the project file names it."""

    digest: str | None = None
    """The copy's digest; None for the model that the version was trained on, and for a whole model."""


def models_to_check(project: Project, version: AdapterVersion) -> list[CheckedModel]:
    """What a version is checked on before it goes live: the model that it was trained on where that is served or no
    copy of it is, and each served copy of it (`serving.copy_of`)."""
    if version.manifest.kind == "merged":
        return [CheckedModel("base", str(version.path))]
    return _bases_to_check(project, version.manifest.base_digest)


def checks_of_training(project: Project) -> list[CheckedModel]:
    """What the version of a training will be checked on, as far as it is known before the training.

    A whole model is as large as the base that it is trained from, which is named here in its place.
    """
    if result_kind(project.training) == "merged" or not project.serving.copy_of:
        return due_checks(project, [CheckedModel("base", project.model)])
    return due_checks(project, _bases_to_check(project, digest_model(project.model)))


def due_checks(project: Project, models: list[CheckedModel]) -> list[CheckedModel]:
    """Those of `models` that are checked before a version goes live: without `training.parity_tolerance` the copies
    alone, which refuse a version that was not checked on them."""
    return [each for each in models if each.digest or project.training.parity_tolerance is not None]


def served_base(project: Project, version: AdapterVersion) -> str | None:
    """The name at the project's endpoint of the model that a version was trained on; None where only copies of it in
    other numbers, or other models, are served."""
    served = base_models(project.serving, project.model)
    own = (name for name, source in served.items() if name not in project.serving.copy_of)
    return next((name for name in own if digest_model(served[name]) == version.manifest.base_digest), None)


def _bases_to_check(project: Project, trained_on: str) -> list[CheckedModel]:
    serving = project.serving
    copies = [
        CheckedModel(name, serving.models[name], original, digest_model(serving.models[name]))
        for name, original in serving.copy_of.items()
        if digest_model(original) == trained_on
    ]
    if not copies:
        return [CheckedModel("base", project.model)]
    others = {name: source for name, source in serving.models.items() if name not in serving.copy_of}
    own = [CheckedModel(name, source) for name, source in others.items() if digest_model(source) == trained_on]
    return [*own[:1], *copies]


def require_checks_on_copies(project: Project, version: AdapterVersion) -> None:
    """Raises TandemError where a copy that the project serves would refuse the version."""
    registry = Registry.of(project.storage)
    for model in models_to_check(project, version):
        if model.digest is None:
            continue
        check = registry.copy_check_of(version, model.digest)
        if check is None or not check.passed:
            pinned = f"{version.name}@{version.version}"
            raise TandemError(
                f"{pinned} has not passed its parity check on {model.name} ({model.source}), a copy in other numbers "
                "of the model that it was trained on; the endpoint would refuse it there.",
                "A version that was checked on every served copy of its base (`serving.copy_of`).",
                f"Run `tandem adapters check {pinned}`, or serve the model that it was trained on.",
            )
