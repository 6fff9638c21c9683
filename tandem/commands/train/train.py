"""`tandem train`: rows to a published version, which goes live where vLLM serves it as it was trained."""

from typing import Annotated

import typer

from cluster.hardware import read_hardware
from cluster.session import ray_session
from tandem.commands.options import DEFAULT, AsJson, ProjectFile, with_option_groups
from tandem.console import Console
from tandem.pipeline.parity_check import ensure_parity
from tandem.pipeline.room import check_adaptable, check_room_for_parity
from tandem.pipeline.runs import recorded
from tandem.pipeline.served_copies import checks_of_training
from tandem.pipeline.training import check_training, interrupted_training
from tandem.pipeline.training import train as train_and_publish
from tandem.project.project import load
from tandem.submit.submit import SubmitOptions, submit_if_asked
from training.run import check_resumable


@with_option_groups
def train(
    resume: Annotated[bool, typer.Option("--resume", help="Resume the last interrupted training.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    *,
    submit_options: SubmitOptions,
) -> None:
    """Train an adapter and publish it as a new version.

    The version goes live where vLLM serves it with the log-probabilities that the trainer computed.
    """
    if submit_if_asked(submit_options, "train", ["--resume"] * resume, config, as_json):
        return
    console, project = Console(as_json), load(config)
    if resume:
        check_resumable(project.training)
    rows = check_training(project, console.slow_progress)
    if checks_of_training(project):
        check_adaptable(project)
    interrupted = interrupted_training(project) if resume else None
    with recorded(project, "train", console, interrupted) as folder, ray_session(project.cluster):
        check_room_for_parity(project, read_hardware())
        version = train_and_publish(project, folder, console, resuming=resume, rows=rows)
        ensure_parity(project, version, console)
    console.result(f"{version.name}@{version.version} at {version.path}", version.manifest.model_dump(mode="json"))
    if version.manifest.kind == "merged":
        console.hint(f"serve this whole model: set `serving.models: {{{version.name}: {version.path}}}`.")
    else:
        console.hint(f"ask it: tandem ask --model base:{version.name} '...', or measure it: tandem compare")
