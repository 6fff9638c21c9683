"""The only place that strings the packages together: check, train, index, serve, ask, report.

Each stage is a function that can be called alone; `compare` runs them all in one Ray session.
"""

import contextlib
import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from cluster.session import metrics_urls, ray_session
from cluster.storage.runs import Run
from tandem import corrected
from tandem.console import Console
from tandem.project import Project

if TYPE_CHECKING:
    from retrieval.index.indexing import Forgotten
    from retrieval.index.report import IndexReport
    from serving.config import ServingConfig
    from training.data.data_check import DataCheck
    from training.trainer.fit import Reporter


@dataclass(frozen=True)
class Served:
    """A running endpoint: its URL, and what can be asked of it; `models` has the names of the adapters' models."""

    url: str
    models: dict[str, str]
    collection: str | None


@contextlib.contextmanager
def recorded(project: Project, verb: str, console: Console, interrupted: Run | None = None) -> Iterator[Run]:
    """A run folder whose manifest says how the block ended, and when each stage did (seconds since the start)."""
    run = interrupted or Run.start(project.storage, project.name, verb, project.resolved())
    with run.held():
        try:
            yield run
        except KeyboardInterrupt:
            console.stage("stopped", "interrupted; everything that was started has been ended")
            run.finish("interrupted", stages=console.stages)
            raise
        except BaseException as error:
            run.finish("failed", stages=console.stages, error=str(error) or type(error).__name__)
            raise
        run.finish("done", stages=console.stages)


def check_data(project: Project, console: Console) -> None:
    """Read every row, question and correction before anything is started."""
    from evaluation.asking.corrections import load_corrections
    from evaluation.compare import check_questions
    from evaluation.questions.leaks import leaked_among, refuse
    from evaluation.questions.question import slices
    from training.data.rows import check_rows
    from training.publish.publish import trained_row

    _training_data(project)
    rows = check_rows(project.training).rows if tunes(project) else ()
    questions = check_questions(project.evaluation)
    refuse(leaked_among(questions, map(trained_row, rows)), len(questions))
    check_arms(project)
    if project.evaluation.corrections and retrieves(project):
        corrected.check(project.retrieval, load_corrections(project.evaluation.corrections))
    console.stage("check", f"{len(rows)} training rows, {len(questions)} questions in {len(slices(questions))} slices")


def check_arms(project: Project) -> None:
    """Raises TandemError where an arm needs what the project does not have, before anything is paid for."""
    from evaluation.arms import Shot, make_arms

    has_documents, has_rows = retrieves(project), bool(project.training.data)
    make_arms(
        project.evaluation.arms, tuned="tuned", raft="raft", collection="there" if has_documents else None,
        endpoints=project.evaluation.endpoints, shots=[Shot("", "")] if has_rows else (),
    )  # fmt: skip


def check_training(project: Project) -> None:
    """Raises TandemError where the adapter could not be served or a row is bad, before anything is started."""
    from training.data.rows import check_rows

    check_rank(project)
    _training_data(project)
    check_rows(project.training)


def check_rank(project: Project) -> None:
    """Raises TandemError where the adapter to be trained could not be served."""
    from training.publish.publish import result_kind

    rank, most = project.training.rank, project.serving.max_lora_rank
    if result_kind(project.training) == "adapter" and rank > most:
        raise TandemError(
            f"`training.rank` is {rank} and `serving.max_lora_rank` is {most}: the adapter could not be served.",
            "A rank that is served.",
            "Raise `serving.max_lora_rank`, or lower `training.rank`.",
        )


def look_at_data(project: Project) -> "tuple[DataCheck | None, int]":
    """What training would make of its rows, None where the project trains nothing, and the number of questions."""
    from evaluation.compare import check_questions
    from training.data.data_check import check

    checked = check(project.training, project.model) if project.training.data or tunes(project) else None
    # A project that only trains has no questions; one that compares cannot do without.
    asked = project.evaluation.questions is not None or checked is None
    return checked, len(check_questions(project.evaluation)) if asked else 0


def train(project: Project, run: Run, console: Console, resuming: bool = False) -> AdapterVersion:
    """Train and publish an adapter, or find the version that was made from exactly these inputs.

    With `resuming` the run is one that did not end, and goes on from its last checkpoint.
    """
    from training.run import fingerprint, resume
    from training.run import train as run_training

    _training_data(project)
    base_digest = digest_model(project.model)
    known = Registry.of(project.storage).find(
        project.adapter, fingerprint(project.training, project.model, base_digest)
    )
    if known:
        console.stage("train", f"reused {known.name}@{known.version}: data, model and settings have not changed")
        return known
    version = (resume if resuming else run_training)(
        project.training, project.model, project.adapter, project.storage, run, _reporter(console)
    )
    loss = version.manifest.metrics.get("held_out_loss")
    measured = f", held-out loss {loss:.3f}" if loss is not None else ""
    console.stage("train", f"published {version.name}@{version.version}{measured} -> {version.path}")
    return version


def interrupted_training(project: Project) -> Run:
    """The newest training of this project that did not end, opened again; inside no Ray session.

    Raises:
        TandemError: there is none, it still runs, or data or settings are no longer what it was started with.
    """
    from training.run import find_interrupted

    storage = project.storage
    storage.fetch(project.name, "*/job.json", "*/manifest.json")
    return find_interrupted(
        storage.runs(project.name), project.training, project.model, digest_model(project.model), storage
    )


def _reporter(console: Console) -> "Reporter":
    from training.trainer.fit import Reporter

    return Reporter(console.progress, lambda text: console.stage("train", text))


@contextlib.contextmanager
def milvus(project: Project) -> Iterator[str]:
    """The URI of the project's document store; the local one is started where it does not run yet."""
    from retrieval.store.milvus_lite import local_server

    if project.retrieval.uri != "local":
        yield project.retrieval.uri
        return
    if project.storage.bucket and retrieves(project):
        raise TandemError(
            f"storage is {project.settings.storage} and retrieval.uri is `local`: an index of this machine only.",
            "A Milvus server that every machine reaches.",
            "Set `retrieval.uri` to its address, or `storage` to a folder.",
        )
    with local_server(project.storage.milvus) as uri:
        yield uri


def index(
    project: Project,
    uri: str,
    console: Console,
    on_documents: Callable[[Iterator[tuple[str, str]]], None] | None = None,
) -> "IndexReport":
    """Bring the collection up to date with the documents; `on_documents` gets their names and digests."""
    from retrieval.index.indexing import index as run_index

    with embedding_session(project):
        report = run_index(
            project.retrieval, project.collection, uri, console.progress, forgotten(project), on_documents
        )
    console.stage("index", _told(report))
    return report


def follow(project: Project, uri: str, console: Console) -> None:
    """Keep the collection up to date with the documents until the process is interrupted."""
    from retrieval.index.indexing import follow as run_follow

    def on_report(report: "IndexReport") -> None:
        console.stage("index", _told(report))
        for failure in report.failed:
            console.stage("index", f"{failure.source} {failure.reason}")

    with embedding_session(project), contextlib.suppress(KeyboardInterrupt):
        run_follow(
            project.retrieval, project.collection, uri, on_report, console.progress, forgotten=forgotten(project)
        )
    console.stage("index", "stopped")


@contextlib.contextmanager
def embedding_session(project: Project) -> Iterator[None]:
    """A Ray session for the workers that embed documents, where the project has some and none is open yet."""
    if not project.retrieval.embedding_workers:
        yield
        return
    ray = sys.modules.get("ray")  # not imported here: a session sets the environment before that
    with contextlib.nullcontext() if ray and ray.is_initialized() else ray_session(project.cluster):
        yield


def _told(report: "IndexReport") -> str:
    counts = ("added", "changed", "unchanged", "deleted")
    told = ", ".join(f"{getattr(report, name)} {name}" for name in counts if getattr(report, name))
    left_out = f", {len(report.forgotten)} left out as forgotten" if report.forgotten else ""
    return f"{report.collection}: {told or 'no documents'}, {len(report.failed)} failed{left_out}"


def forgotten(project: Project) -> "Forgotten":
    """What tells which documents are left out, asked anew each time."""
    from retrieval.index.forgetting import read

    return functools.partial(read, project.storage.forgotten(project.collection))


@contextlib.contextmanager
def serve(
    project: Project,
    uri: str | None,
    adapters: Mapping[str, AdapterVersion],
    console: Console,
    keys: Path | None = None,
) -> Iterator[Served]:
    """The endpoint, ready to be asked; inside a Ray session.

    Args:
        adapters: versions to be served whether or not they are live, by any name.
        keys: the folder of API keys that it asks for.
    """
    from serving.deploy.run import served

    retrieval = project.retrieval if uri and retrieves(project) else None
    config, names = _serving(project, adapters)
    if keys is None:
        config = on_loopback(config)
    with served(config, project.model, project.storage, retrieval, uri, console.progress, keys) as url:
        console.stage("serve", f"ready at {url}")
        yield Served(url, names, project.collection if retrieval else None)


def on_loopback(config: "ServingConfig") -> "ServingConfig":
    """Without keys nobody but this machine is let in."""
    return config.model_copy(update={"host": "127.0.0.1"})


def serve_forever(project: Project, console: Console) -> None:
    """Serve until the process is interrupted."""
    from serving.access.keys import Keys
    from serving.deploy.run import check as check_serving

    keys = project.storage.keys if Keys(project.storage.keys_place).all() else None
    check_serving(project.serving, project.model, has_keys=keys is not None)
    with milvus(project) as uri, ray_session(project.cluster), serve(project, uri, {}, console, keys) as served:
        if keys is None:
            console.stage("serve", "NO API KEYS: whoever reaches this address may ask; see `tandem keys create`")
        console.stage("serve", f"metrics at {', '.join(metrics_urls())}")
        model = f"base+{served.collection}" if served.collection else "base"
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What do you know?"}]})
        key = "-H 'Authorization: Bearer YOUR_KEY' " if keys else ""
        console.hint(f"curl {served.url}/chat/completions {key}-H 'Content-Type: application/json' -d '{body}'")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    console.stage("serve", "stopped")


def tunes(project: Project) -> bool:
    """Whether an arm is measured that has to be trained."""
    from evaluation.arms import TRAINED

    return any(arm in TRAINED for arm in project.evaluation.arms)


def retrieves(project: Project) -> bool:
    return bool(project.retrieval.sources)


def _serving(project: Project, adapters: Mapping[str, AdapterVersion]) -> "tuple[ServingConfig, dict[str, str]]":
    """What is served, and the models' names there: an adapter to `base`, or a whole model beside it."""
    from serving.deploy.run import models

    if not adapters:
        return project.serving, {}
    names = {given: _model_name(version) for given, version in adapters.items()}
    whole = {
        names[given]: str(version.path) for given, version in adapters.items() if version.manifest.kind == "merged"
    }
    # They may not be live yet, and what is published elsewhere is not measured.
    changed: dict[str, Any] = {"preload": [], "adapter_registry": None}
    if whole:
        changed["models"] = {**models(project.serving, project.model), **whole}
    return project.serving.model_copy(update=changed), names


def _model_name(version: AdapterVersion) -> str:
    assert version.path, "its files are here, wherever the storage is"
    separator = "base:{}@{}" if version.manifest.kind == "adapter" else "{}-{}"
    return separator.format(version.name, version.version)


def _training_data(project: Project) -> None:
    if tunes(project) and not project.training.data:
        raise TandemError(
            f"{project.path} names no training data.",
            "`training.data`: a JSONL, JSON or Parquet file with rows.",
            "Name one, or take `tuned`, `tuned_retrieval` and `raft` out of `evaluation.arms`.",
        )
