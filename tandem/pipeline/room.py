"""Whether what a training will publish can be served afterwards, asked before the training is paid for."""

from collections.abc import Sequence

from cluster.errors import TandemError
from cluster.hardware import Hardware
from serving.deploy.run import base_models, plan_gpus
from serving.engine.lora_support import supports_adapters
from serving.engine.model_files import read_model_files
from serving.engine.sharing import check_free_memory
from tandem.pipeline.served_copies import checks_of_training
from tandem.project.project import Project
from training.publish.publish import result_kind


def check_room(project: Project, hardware: Hardware, merged: Sequence[str] = ()) -> None:
    """Refuse what could not be served at the same time as the project's base models.

    Args:
        merged: names of whole models that will be served beside the bases. They are as large as the base that they
            are trained from.

    Raises:
        TandemError: GPUs or their memory do not suffice, with what would do.
    """
    models = {name: read_model_files(source) for name, source in base_models(project.serving, project.model).items()}
    models |= dict.fromkeys(merged, read_model_files(project.model))
    plan_gpus(project.serving, models, hardware, project.retrieves)
    check_free_memory(project.serving, len(models), hardware)


def check_room_for_parity(project: Project, hardware: Hardware) -> None:
    """Refuse what could not be served, one model after the other, for the checks that follow a training.

    Raises:
        TandemError: as `check_room`.
    """
    for each in checks_of_training(project):
        alone = project.serving.for_one_model(each.source)
        plan_gpus(alone, {"base": read_model_files(each.source)}, hardware, retrieves=False)
        check_free_memory(alone, 1, hardware)


def check_adaptable(project: Project) -> None:
    """Refuse to train an adapter that could not be served.

    Raises:
        TandemError: vLLM cannot adapt the base's architecture, or `serving.adapters` is false.
    """
    if result_kind(project.training) != "adapter":
        return
    if not project.serving.adapters:
        raise TandemError(
            f"`training.method` is {project.training.method}, which publishes an adapter, and `serving.adapters` is "
            "false: it could not be served.",
            "An endpoint that serves adapters, or a method that publishes a whole model.",
            "Remove `serving.adapters`, or set `training.method: full`.",
        )
    architectures = read_model_files(project.model).architectures
    if not supports_adapters(architectures):
        raise TandemError(
            f"vLLM cannot serve adapters to {', '.join(architectures)}, the architecture of {project.model}.",
            "A method that publishes a whole model.",
            "Set `training.method: full`, or train another base model.",
        )
