"""The endpoint for `serve deploy` and RayService: `tandem serve --write-config` writes a file that names `build`."""

from pathlib import Path

from ray.serve import Application

from serving.run import application
from tandem.project import load


def build(args: dict[str, str]) -> Application:
    """The Serve application of a project.

    Args:
        args: `project`, the project file's path; every node that serves reads it, its models and its storage there.

    Raises:
        TandemError: the project file or a model cannot be read.
    """
    from serving.keys import Keys

    project = load(Path(args["project"]))
    keys = project.storage.keys if Keys(project.storage.keys_place).all() else None
    uri = project.retrieval.uri if project.retrieval.sources else None
    retrieval = project.retrieval if uri else None
    return application(project.serving, project.model, project.storage, retrieval, uri, keys)
