"""`tandem ask`: one question, answered by the endpoint that runs, or by one started for this question alone."""

import os
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.session import ray_session
from retrieval.store.collection import collections_of
from serving.api.model_name import ModelName
from serving.client import AskFailed, connect, list_models
from serving.client import ask as ask_endpoint
from serving.deploy.run import validate_serving as check_serving
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.pipeline.documents import index, milvus
from tandem.pipeline.endpoint import on_loopback, serve
from tandem.project.project import Project, load


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[
        str | None, typer.Option(help="The model to ask, such as base, base:adapter or base+collection.")
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Answer one question from the project's documents, with citations.

    Asks the endpoint that runs, or starts an endpoint for this question alone.
    """
    console = Console(as_json)
    answer = answer_question(load(config), question, model, console)
    console.result(as_text(answer), answer)


def answer_question(project: Project, question: str, model: str | None, console: Console) -> dict[str, Any]:
    """The answer with its citations.

    Raises:
        TandemError: the question cannot be asked of this project, or the endpoint did not answer.
    """
    model = model or (f"base+{project.collection}" if project.retrieval.sources else "base")
    url = f"http://{project.serving.host}:{project.serving.port}/v1"
    if _is_served(url, model):
        return _ask(url, model, question)
    check_serving(on_loopback(project.serving), project.model)
    with milvus(project) as uri:
        if project.retrieval.sources:
            index(project, uri, console)
        with ray_session(project.cluster), serve(project, uri, {}, console) as served:
            return _ask(served.url, model, question)


def as_text(answer: dict[str, Any]) -> str:
    """The answer, and under it the passages that it cites."""
    cited = [citation for citation in answer["citations"] if citation["cited"]]
    notes = [f"[{citation['index']}] {citation['title']} ({citation['source']})" for citation in cited]
    return "\n".join([answer["text"], "", *notes]) if notes else answer["text"]


def _is_served(url: str, model: str) -> bool:
    """Whether an endpoint of this project runs already: one that lists the model, whatever version is asked for, with
    each collection."""
    name = ModelName.parse(model)
    collections = collections_of(name.collection) if name.collection else [None]
    wanted = {str(ModelName(name.base, name.adapter, None, each)) for each in collections}
    try:
        return wanted <= set(list_models(connect(url, api_key=_key(), timeout_s=10)))
    except AskFailed as failed:
        if failed.status == 401:
            raise
        return False


def _key() -> str | None:
    return os.environ.get("TANDEM_API_KEY")


def _ask(url: str, model: str, question: str) -> dict[str, Any]:
    return asdict(ask_endpoint(connect(url, api_key=_key()), model, question))
