"""`tandem adapters check`: a version is served, and goes live where vLLM agrees with the trainer."""

from typing import Annotated

import typer

from cluster.session import ray_session
from tandem.commands.options import DEFAULT, ProjectFile
from tandem.commands.serve.adapters import find_version
from tandem.console import Console
from tandem.pipeline.parity_check import serve_and_check
from tandem.project.project import load


def check_adapter(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")], config: ProjectFile = DEFAULT
) -> None:
    """Serve a version, compare it with the trainer, and make it live where both agree.

    Compares the log-probabilities that vLLM computes with those of the trainer.
    """
    project, console = load(config), Console()
    version = find_version(project, adapter)
    with ray_session(project.cluster):
        serve_and_check(project, version, console)
    console.result(f"{version.name}@{version.version} is live.", None)
