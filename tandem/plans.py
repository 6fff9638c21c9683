"""`tandem plan`: what a training will take, and with `--serve` what an endpoint will."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.errors import TandemError
from tandem.console import Console
from tandem.options import DEFAULT, AsJson, ProjectFile

if TYPE_CHECKING:
    from tandem.project.project import Project


def plan(
    memory_gib: Annotated[float | None, typer.Option(help="Plan for a GPU with this memory, not this machine.")] = None,
    host_gib: Annotated[float | None, typer.Option(help="Main memory for each worker's offloaded state.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Another number of workers than the project's.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Plan an endpoint for a load instead of a training.")] = False,
    requests_per_s: Annotated[
        float | None, typer.Option(help="With --serve, as all that follow: requests a second at the peak.")
    ] = None,
    questions_per_day: Annotated[float | None, typer.Option(help="Instead: questions in a day.")] = None,
    peak_factor: Annotated[float, typer.Option(help="How many times the day's mean its peak is (assumed).")] = 4.0,
    tokens_in: Annotated[int, typer.Option(help="Tokens of a prompt, its passages included.")] = 512,
    tokens_out: Annotated[int, typer.Option(help="Tokens of an answer.")] = 128,
    chunks: Annotated[int, typer.Option(help="Chunks that a question is searched in; 0: no retrieval.")] = 0,
    dimensions: Annotated[int, typer.Option(help="Length of a chunk's vector.")] = 384,
    adapters: Annotated[int, typer.Option(help="Adapters that are asked for.")] = 0,
    zipf: Annotated[float, typer.Option(help="How uneven their popularity is; 0: all alike.")] = 1.0,
    most_busy: Annotated[float, typer.Option(help="Share of the time for which a part may be busy.")] = 0.7,
    node_cores: Annotated[int, typer.Option(help="Cores of a node.")] = 16,
    node_gib: Annotated[float, typer.Option(help="Memory of a node.")] = 64.0,
    node_gpus: Annotated[int, typer.Option(help="GPUs of a GPU node.")] = 8,
    measure: Annotated[
        str | None, typer.Option(help="Load this endpoint of the project for a minute and keep what it took.")
    ] = None,
    model_name: Annotated[str, typer.Option(help="The model to ask it for, such as base or base+handbook.")] = "base",
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each of its four loads.")] = 15.0,
    costs: Annotated[Path | None, typer.Option(help="A file of unit costs, in place of those under storage.")] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Say what training will take before anything is loaded; with --serve, what an endpoint for a load will."""
    from tandem.project.project import load

    console, project = Console(as_json), load(config)
    if not serve:
        if requests_per_s or questions_per_day or measure or costs:
            raise TandemError("A load is given, and what is planned is a training.", "--serve with it.", "Add --serve.")
        plan_training(console, project, memory_gib, host_gib, workers)
        return
    from serving.capacity.workload import Wish, peak
    from tandem import serve_planning as planning

    wish = Wish(
        peak(requests_per_s, questions_per_day, peak_factor), tokens_in, tokens_out, chunks, dimensions,
        project.retrieval.milvus.replicas, project.retrieval.milvus, adapters, zipf,
        project.serving.max_loaded_adapters, keys=True, redis=project.serving.redis_url is not None,
        batch=project.serving.max_num_seqs, most_busy=most_busy, node_cores=node_cores, node_gib=node_gib,
        node_gpus=node_gpus,
    )  # fmt: skip
    planning.check_length(project, wish)
    if measure:
        planning.measure(project, measure, model_name, os.environ.get("TANDEM_API_KEY"), wish, seconds, console)
    planning.show(planning.planned(project, wish, costs), console)


def plan_training(
    console: Console, project: "Project", memory_gib: float | None, host_gib: float | None, workers: int | None
) -> None:
    """Print what the project's training will take. Raises TandemError where nothing fits."""
    from tandem.planning import as_text, plan, tables, to_json

    found = plan(project.training, project.model, memory_gib, host_gib, workers)
    for table in tables(found):
        console.table(table)
    console.result(as_text(found), to_json(found))
    if found.refusal:
        raise found.refusal
    console.hint("train: tandem train")
