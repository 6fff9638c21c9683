"""`tandem compare`: what has to be there for each arm, and how much of it is paid for.

Base and retrieval are measured first; a training is started only if what they get wrong is of a kind that training can
mend. `spend_all` measures every arm anyway. What was trained or answered before from the same inputs is not done again,
so that a comparison that was broken off goes on where it stopped.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.digests import digest_json
from cluster.errors import TandemError
from cluster.models import digest_model
from cluster.provenance import versions
from cluster.registry import AdapterVersion, Registry
from cluster.runs import Run
from cluster.session import ray_session
from tandem import parity, pipeline
from tandem.console import Console
from tandem.inventory import Inventory, read_documents
from tandem.project import Project

if TYPE_CHECKING:
    from evaluation.arms import Arm, Shot
    from evaluation.compare import Setting
    from evaluation.results import Freshness, Report, Staging

# Of `serving`: where it is reached and how much it can take changes no answer.
SAME_ANSWERS = ("host", "port", "num_replicas", "preload", "adapter_registry")
ARMS_OF: dict[str, tuple[str, ...]] = {"tuned": ("tuned", "hybrid"), "raft": ("raft",)}


def compare(
    project: Project, console: Console, spend_all: bool = False, fresh: bool = False, since: str | None = None
) -> "tuple[Report, Run]":
    """Measure the project's arms on its questions and write the report.

    Args:
        spend_all: train whatever base and retrieval get wrong.
        fresh: ask every question again, also where the answer is known.
        since: an earlier run, by `find_run`: only what documents that changed since then touch is asked again.

    Raises:
        TandemError: a file, a setting or a service is not as it must be; nothing is left running.
    """
    from serving.run import check as check_serving

    pipeline.check_data(project, console)
    check_serving(pipeline.on_loopback(project.serving), project.model)
    if pipeline.tunes(project):
        pipeline.check_rank(project)
    with (
        pipeline.recorded(project, "compare", console) as run,
        pipeline.milvus(project) as uri,
        ray_session(project.cluster),
    ):
        comparison = Comparison(project, run, uri, console, fresh)
        return (comparison.run_since(find_run(project, since)) if since else comparison.run_all(spend_all)), run


def find_run(project: Project, name: str) -> Path:
    """The folder of an earlier comparison: by its name, its path, or the newest that has ended (`last`).

    Raises:
        TandemError: there is none.
    """
    runs = project.storage.runs(project.name)
    ended = sorted(path.parent.name for path in runs.glob("compare-*/report.json"))
    if name == "last" and ended:
        return runs / ended[-1]
    for folder in (runs / name, Path(name)):
        if (folder / "report.json").is_file():
            return folder
    raise TandemError(
        f"There is no comparison {name!r} that has ended.",
        f"`last`, a folder, or one of {', '.join(ended[-5:])}." if ended else "A comparison that has ended.",
        "Name one of them." if ended else "Run `tandem compare` first.",
    )


def adapters_of(report: "Report", registry: Registry) -> dict[str, AdapterVersion]:
    """The versions that an earlier report measured, by `tuned` and `raft`. Raises TandemError where one is gone."""
    found = {}
    for kind, arms in ARMS_OF.items():
        for arm in report.arms:
            # base:NAME@VERSION for an adapter, NAME-VERSION for a whole model
            named = re.match(r"(?:base:(.+)@|(.+)-)(\d+)(?:\+|$)", arm.model)
            if arm.name in arms and named:
                found[kind] = registry.get(named[1] or named[2], int(named[3]))
    return found


@dataclass
class Comparison:
    """One comparison, inside a Ray session: the index and the adapters that it has so far."""

    project: Project
    run: Run
    uri: str
    console: Console
    fresh: bool = False
    adapters: dict[str, AdapterVersion] = field(default_factory=dict)
    inventory: Inventory | None = None

    def run_all(self, spend_all: bool) -> "Report":
        """Index, decide what is worth training, train, measure."""
        from evaluation.arms import TRAINED
        from evaluation.compare import check_questions

        self.index()
        missing = [kind for kind in self.kinds if self.known(kind) is None]
        needs_rows = "raft" in missing and not self.raft_rows.exists()
        staging = None
        if needs_rows or (missing and self.untrained and not spend_all):
            with self.served() as served:
                if self.untrained and not spend_all:
                    staging = self.decide(served)
                    if not staging.trained:
                        arms = [name for name in self.project.evaluation.arms if name not in TRAINED]
                        return self.measure(served, self.arms(served, arms), staging)
                if needs_rows:
                    self.make_raft_rows(served)
        for kind in self.kinds:
            self.adapters[kind] = self.train(kind)
        check_questions(self.project.evaluation, self.trained)
        with self.served() as served:
            for kind, adapter in self.adapters.items():
                parity.ensure(
                    self.trained_as(kind), adapter, self.console, parity.Endpoint(served.url, served.models[kind])
                )
            return self.measure(served, self.arms(served, self.project.evaluation.arms), staging)

    def run_since(self, folder: Path) -> "Report":
        """Index, ask again what the changes touch, and conclude whether an earlier run's verdict still stands.

        Raises:
            TandemError: that run had other questions, has no list of documents, or its adapter is gone.
        """
        from evaluation.compare import measure_again
        from evaluation.drift import changes, read_report

        earlier, before = read_report(folder / "report.json"), read_documents(folder)
        self.index()
        after = read_documents(self.run.path)
        if before is None or after is None:
            raise TandemError(
                f"The run {folder.name} has no list of the documents that it was measured on.",
                "A run of `tandem compare` with retrieval.",
                "Name another run, or measure anew with `tandem compare`.",
            )
        self.adapters = adapters_of(earlier, Registry(self.project.storage.adapters))
        with self.served() as served:
            report = measure_again(
                self.project.evaluation, served.url, self.arms(served, [arm.name for arm in earlier.arms]), self.run,
                self.console.progress, self.setting(), earlier, changes(before, after), self.found_now(served, earlier),
            )  # fmt: skip
        self.console.stage("report", f"{self.run.path / 'report.html'}, report.md and report.json")
        return report

    def found_now(self, served: pipeline.Served, earlier: "Report") -> dict[str, set[str]]:
        """The documents that a search finds for each question, by its id."""
        from serving.client import connect

        if served.collection is None:
            return {}
        with connect(served.url) as client:
            found = {}
            for row in earlier.rows:
                page = client.vector_stores.search(
                    served.collection, query=row.question.question, max_num_results=self.project.retrieval.top_k
                )
                found[row.question.id] = {hit.filename for hit in page.data}
        return found

    def index(self) -> None:
        """Bring the collection up to date and take down what it holds."""
        if not pipeline.retrieves(self.project):
            return
        self.inventory = Inventory(self.run.path, self.project.storage.runs(self.project.name) / "indexing.json")
        self.inventory.take(pipeline.index(self.project, self.uri, self.console, self.inventory.write))

    def train(self, kind: str) -> AdapterVersion:
        """Train or reuse; a second training has a run of its own, since its files have the same names."""
        project = self.trained_as(kind)
        if kind == self.kinds[0]:
            return pipeline.train(project, self.run, self.console)
        with pipeline.recorded(project, "train", self.console) as run:
            return pipeline.train(project, run, self.console)

    @cached_property
    def kinds(self) -> list[str]:
        """The trainings that the project's arms need."""
        return [kind for kind, arms in ARMS_OF.items() if set(arms) & set(self.project.evaluation.arms)]

    @property
    def untrained(self) -> list[str]:
        """The arms that need no training, and no endpoint of others."""
        from evaluation.arms import TRAINED

        named = self.project.evaluation
        return [name for name in named.arms if name not in TRAINED and name not in named.endpoints]

    def decide(self, served: pipeline.Served) -> "Staging":
        """Measure the arms that cost nothing to make, and whether a training could repay what it costs."""
        from evaluation.compare import ask, check_questions, grade_all
        from evaluation.staging import decide

        config = self.project.evaluation
        arms, questions = self.arms(served, self.untrained), check_questions(config)
        asked = ask(config, served.url, arms, questions, self.console.progress, self.setting())
        rows, _ = grade_all(config, served.url, arms, questions, asked, self.console.progress)
        staging = decide(rows, config)
        self.console.stage("stage", staging.reason)
        return staging

    def measure(self, served: pipeline.Served, arms: "Sequence[Arm]", staging: "Staging | None") -> "Report":
        """Ask every arm every question, grade, and write the reports into the run's folder."""
        from evaluation.compare import measure

        setting = self.setting(staging, self.freshness(served, arms))
        report = measure(self.project.evaluation, served.url, arms, self.run, self.console.progress, setting)
        self.console.stage("ask", f"{len(report.rows)} questions to {len(arms)} arms in {report.duration_s:.0f} s")
        self.console.stage("report", f"{self.run.path / 'report.html'}, report.md and report.json")
        return report

    def freshness(self, served: pipeline.Served, arms: "Sequence[Arm]") -> "list[Freshness]":
        """How soon the arms follow the project's corrections, made to a copy of its documents."""
        from evaluation.corrections import load_corrections, watch
        from tandem.corrected import corrected

        config = self.project.evaluation
        own = [arm for arm in arms if arm.endpoint is None]
        if config.corrections is None or not own or served.collection is None:
            return []
        corrections = load_corrections(config.corrections)
        with corrected(self.project.retrieval, served.collection, self.uri, corrections) as (copy, correct):
            there = [replace(arm, model=arm.model.replace(f"+{served.collection}", f"+{copy}")) for arm in own]
            found = watch(config, served.url, there, corrections, correct, self.console.progress)
        told = [f"{arm.title} {each.new.right} of {each.num_questions}" for arm, each in zip(own, found, strict=True)]
        self.console.stage("correct", f"corrected answers: {', '.join(told)}")
        return found

    def setting(self, staging: "Staging | None" = None, freshness: "Sequence[Freshness]" = ()) -> "Setting":
        """What is known of the arms at this point."""
        from evaluation.compare import Setting

        seconds = {kind: adapter.manifest.metrics.get("worker_s") for kind, adapter in self.adapters.items()}
        return Setting(
            versions={} if self.project.retrieval.live else self.versions(),
            answers=None if self.fresh else self.project.storage.answers(self.project.name),
            trained=self.trained,
            training_s={arm: found for kind, found in seconds.items() if found for arm in ARMS_OF[kind]},
            indexing_s=self.inventory.seconds if self.inventory else None,
            index_version=self.inventory.digest if self.inventory else None,
            staging=staging,
            freshness=freshness,
        )

    def versions(self) -> dict[str, str]:
        """What answers for each arm: weights, index, engine. Without these a kept answer may be another model's."""
        from evaluation.arms import RETRIEVING

        engine = self.project.serving.model_dump(mode="json", exclude=set(SAME_ANSWERS))
        base = [digest_model(self.project.model), engine, versions()]
        found = {}
        for name in self.project.evaluation.arms:
            if name in self.project.evaluation.endpoints:
                # Nobody says when a hosted model changes: what it said is good for a day.
                endpoint = self.project.evaluation.endpoints[name]
                found[name] = digest_json([endpoint.url, endpoint.model, f"{datetime.now(UTC):%Y-%m-%d}"])
                continue
            adapter = next((self.adapters.get(kind) for kind, arms in ARMS_OF.items() if name in arms), None)
            weights = adapter.manifest.content_digest if adapter else None
            index = self.inventory.version(self.project.retrieval) if self.inventory and name in RETRIEVING else None
            found[name] = digest_json([base, weights, index])
        return found

    def arms(self, served: pipeline.Served, names: "Sequence[str]") -> "list[Arm]":
        from evaluation.arms import make_arms

        config = self.project.evaluation
        return make_arms(
            names, tuned=served.models.get("tuned"), raft=served.models.get("raft"), collection=served.collection,
            endpoints=config.endpoints, shots=self.shots() if "few_shot" in names else (),
        )  # fmt: skip

    def shots(self) -> "list[Shot]":
        """Training rows to stand in front of a question: drawn once, the same for every question."""
        from random import Random

        from evaluation.arms import Shot
        from training.data import check_rows

        rows = check_rows(self.project.training).rows if self.project.training.data else ()
        plain = [row.messages for row in rows if len(row.messages) == 2 and row.rejected is None]
        config = self.project.evaluation
        drawn = Random(config.seed).sample(plain, min(config.few_shot, len(plain)))
        return [Shot(asked["content"], answered["content"]) for asked, answered in drawn]

    @contextlib.contextmanager
    def served(self) -> Iterator[pipeline.Served]:
        uri = self.uri if pipeline.retrieves(self.project) else None
        with pipeline.serve(self.project, uri, self.adapters, self.console) as served:
            yield served

    def trained_as(self, kind: str) -> Project:
        """The project as it is trained for `kind`: for retrieval on other rows, and under another name."""
        if kind == "tuned":
            return self.project
        from training.config import DataSource

        config = self.project.training
        changed = {"data": (DataSource(path=self.raft_rows),), "adapter": f"{self.project.adapter}-raft"}
        return self.project.with_training(config.model_copy(update=changed))

    def known(self, kind: str) -> AdapterVersion | None:
        """The version that was trained from exactly these inputs, if there is one."""
        from training.run import fingerprint

        if kind == "raft" and not self.raft_rows.exists():
            return None
        project = self.trained_as(kind)
        wanted = fingerprint(project.training, project.model, digest_model(project.model))
        return Registry(project.storage.adapters).find(project.adapter, wanted)

    @cached_property
    def raft_rows(self) -> Path:
        """Where the rows for retrieval are: named by the rows and the index that they are made from."""
        from training.publish import digest_sources

        index = self.inventory.version(self.project.retrieval) if self.inventory else None
        name = digest_json([digest_sources(self.project.training), index])[:16]
        return self.project.storage.runs(self.project.name) / "raft" / f"{name}.jsonl"

    def make_raft_rows(self, served: pipeline.Served) -> None:
        from tandem.raft import make_rows
        from training.data import check_rows

        rows = check_rows(self.project.training).rows
        made = make_rows(served.url, f"base+{served.collection}", rows, self.raft_rows, self.console.progress)
        self.console.stage("raft", made.told)

    @property
    def trained(self) -> list[Path]:
        return [adapter.path / "trained.jsonl" for adapter in self.adapters.values()]
