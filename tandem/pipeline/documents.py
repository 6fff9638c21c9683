"""The document store and the collection in it: started where it is local, and brought up to date with the documents."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from cluster import interrupts
from cluster.errors import TandemError
from cluster.session import ray_session
from retrieval.index.forgetting.forgotten import ForgottenList
from retrieval.index.indexing import follow_changes as run_follow
from retrieval.index.indexing import index_documents as run_index
from retrieval.index.report import IndexReport
from retrieval.sources.left_out import describe_left_out, describe_pages_left_out
from retrieval.store.identity import ProjectIdentity, keep_identity
from retrieval.store.milvus_lite import local_server
from tandem.console import Console
from tandem.project.project import Project


@contextlib.contextmanager
def milvus(project: Project) -> Iterator[str]:
    """The URI of the project's document store; the local store is started where it does not run yet."""
    if project.retrieval.uri != "local":
        yield project.retrieval.uri
        return
    if project.storage.bucket and project.retrieves:
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
    take_over: bool = False,
    allow_empty: bool = False,
) -> IndexReport:
    """Bring the collection up to date with the documents; `on_documents` gets their names and digests. `take_over`
    lets a collection of another project belong to this one; `allow_empty` lets a source without documents be believed
    at once."""
    with embedding_session(project):
        report = run_index(
            project.retrieval, project.collection, uri, console.progress, forgotten(project), on_documents,
            identity(project), take_over, allow_empty,
        )  # fmt: skip
    for line in [_summary(report), *report.notes]:
        console.stage("index", line)
    return report


def follow(project: Project, uri: str, console: Console, take_over: bool = False, allow_empty: bool = False) -> None:
    """Keep the collection up to date with the documents until the process is interrupted."""
    said, left_out = set[str](), set[str]()

    def on_report(report: IndexReport) -> None:
        console.stage("index", _summary(report))
        for source in dict.fromkeys(report.forgotten):
            if source not in left_out:
                console.stage("index", f"{source}: left out, since it was forgotten")
        left_out.update(report.forgotten)
        lines = [f"{failure.source} {failure.reason}" for failure in report.failed] + list(map(str, report.empty))
        lines += [f"{part.source}: indexed, but {part.reason}" for part in report.left_out]
        counts = [describe_left_out(report.other_files), describe_pages_left_out(report.other_pages)]
        lines += [*report.notes, *filter(None, counts)]
        for line in lines:
            if line not in said:
                console.stage("index", line)
        said.update(lines)

    with embedding_session(project), contextlib.suppress(KeyboardInterrupt):
        run_follow(
            project.retrieval, project.collection, uri, on_report, console.progress, forgotten=forgotten(project),
            owner=identity(project), take_over=take_over, allow_empty=allow_empty,
        )  # fmt: skip
    interrupts.accept()
    console.stage("index", "stopped")


@contextlib.contextmanager
def embedding_session(project: Project) -> Iterator[None]:
    """A Ray session for the workers that embed documents, where the project has some and no session is open yet."""
    if not project.retrieval.embedding_workers:
        yield
        return
    ray = sys.modules.get("ray")  # not imported here: a session sets the environment before that
    with contextlib.nullcontext() if ray and ray.is_initialized() else ray_session(project.cluster):
        yield


def forgotten(project: Project) -> ForgottenList:
    """Which documents are left out, read anew whenever it matters."""
    return ForgottenList(project.storage.forgotten(project.collection))


def identity(project: Project) -> ProjectIdentity:
    """What the project is known by in its collections, wherever it is run: it is kept in its storage."""
    return keep_identity(project.storage.identity(project.name), project.name, project.path.parent)


def _summary(report: IndexReport) -> str:
    names = ("added", "changed", "unchanged", "deleted")
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in names if getattr(report, name))
    left_out = f", {len(report.forgotten)} left out as forgotten" if report.forgotten else ""
    kept = f", {report.num_kept} kept of sources that are empty" if report.num_kept else ""
    languages = f", in {' '.join(sorted(report.languages))}" if report.languages else ""
    return f"{report.collection}: {counts or 'no documents'}, {len(report.failed)} failed{left_out}{kept}{languages}"
