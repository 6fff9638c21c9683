"""`tandem compare`: what has to be there for each arm, and how much of it is paid for.

Base and retrieval are measured first; a training is started only if what they get wrong is of a kind that training can
mend. `spend_all` measures every arm anyway. What was trained or answered before from the same inputs is not done again,
so that a comparison that was broken off goes on where it stopped.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.models import digest_model
from cluster.fingerprints.provenance import versions
from cluster.registry.registry import AdapterVersion, Registry
from cluster.session import ray_session
from cluster.storage.runs import Run
from tandem import parity, pipeline
from tandem.console import Console
from tandem.inventory import DOCUMENTS, Inventory, read_documents
from tandem.project import Project
from tandem.trainings import ARMS_OF, Trainings, adapters_of

if TYPE_CHECKING:
    from evaluation.arms import Arm, Shot
    from evaluation.compare import Setting
    from evaluation.results import Freshness, Report, Staging

# Of `serving`: where it is reached and how much it can take changes no answer.
SAME_ANSWERS = ("host", "port", "num_replicas", "preload", "adapter_registry")


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
    from serving.deploy.run import check as check_serving

    earlier = find_run(project, since) if since else None
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
        return (comparison.run_since(earlier) if earlier else comparison.run_all(spend_all)), run


def find_run(project: Project, name: str) -> Path:
    """The folder of an earlier comparison: by its name, its path, or the newest that has ended (`last`).

    Raises:
        TandemError: there is none.
    """
    runs = project.storage.runs(project.name)
    project.storage.fetch(project.name, "compare-*/report.json", f"compare-*/{DOCUMENTS}")
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


@dataclass
class Comparison:
    """One comparison, inside a Ray session: the index and the adapters that it has so far."""

    project: Project
    run: Run
    uri: str
    console: Console
    fresh: bool = False
    adapters: dict[str, AdapterVersion] = field(default_factory=dict)
    """By what they were trained as; `live` is the version that the new one would replace."""
    inventory: Inventory | None = None

    def run_all(self, spend_all: bool) -> "Report":
        """Index, decide what is worth training, train, measure."""
        from evaluation.arms import TRAINED
        from evaluation.compare import check_questions

        self.index()
        names, trainings = self.project.evaluation.arms, self.trainings
        needs_rows = "raft" in trainings.missing and not trainings.raft_rows.exists()
        staging, decides = None, bool(trainings.missing and self.untrained and not spend_all)
        if needs_rows or decides:
            with self.served() as served:
                if decides:
                    staging = self.decide(served)
                    if not staging.trained:
                        untrained = [name for name in names if name not in TRAINED]
                        return self.measure(served, self.arms(served, untrained), staging)
                if needs_rows:
                    trainings.make_raft_rows(served, self.console)
        live = self.live_version()
        self.adapters = {kind: trainings.train(kind, self.run, self.console) for kind in trainings.kinds}
        check_questions(self.project.evaluation, self.trained)
        if live and "tuned" in self.adapters and live.version != self.adapters["tuned"].version:
            self.adapters["live"] = live
        with self.served() as served:
            self.check_parity(served)
            report = self.measure(served, self.arms(served, names), staging)
        self.pass_gates(report)
        return report

    @cached_property
    def trainings(self) -> Trainings:
        """Once the index is up to date."""
        return Trainings(self.project, self.inventory.version(self.project.retrieval) if self.inventory else None)

    def check_parity(self, served: pipeline.Served) -> None:
        """Each new version is served as it was trained; it goes live here only where nothing is live yet."""
        for kind in self.trainings.kinds:
            endpoint = parity.Endpoint(served.url, served.models[kind])
            goes_live = kind != "tuned" or "live" not in self.adapters
            parity.ensure(
                self.trainings.project_for(kind), self.adapters[kind], self.console, endpoint, promotes=goes_live
            )

    def live_version(self) -> AdapterVersion | None:
        registry = Registry.of(self.project.storage)
        return registry.resolve(self.project.adapter) if registry.shares(self.project.adapter) else None

    def pass_gates(self, report: "Report") -> None:
        """Keep how the new version did at its gates; it takes the live one's place where it holds all of them."""
        if not report.gates:
            return
        new, registry = self.adapters["tuned"], Registry.of(self.project.storage)
        registry.record_gates(new.name, new.version, [gate.model_dump() for gate in report.gates], self.run.id)
        failed = [gate.name for gate in report.gates if not gate.passed]
        if "live" not in self.adapters:
            told = f"{', '.join(failed)} failed" if failed else "all held"
        elif failed:
            live = self.adapters["live"]
            if new.version in registry.shares(new.name):  # without a parity check a version is published as live
                registry.promote(live.name, live.version)
            told = f"{', '.join(failed)} failed: {live.name}@{live.version} stays live"
        else:
            registry.promote(new.name, new.version)
            told = f"all held: {new.name}@{new.version} is live"
        self.console.stage("gates", told)

    def run_since(self, folder: Path) -> "Report":
        """Index, ask again what the changes touch, and conclude whether an earlier run's verdict still stands.

        Raises:
            TandemError: that run had other questions, has no list of documents, or its adapter is gone.
        """
        from evaluation.compare import measure_again
        from evaluation.verdicts.drift import changes, read_report

        earlier, before = read_report(folder / "report.json"), read_documents(folder)
        self.index()
        after = read_documents(self.run.path)
        if before is None or after is None:
            raise TandemError(
                f"The run {folder.name} has no list of the documents that it was measured on.",
                "A run of `tandem compare` with retrieval.",
                "Name another run, or measure anew with `tandem compare`.",
            )
        self.adapters = adapters_of(earlier, Registry.of(self.project.storage))
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

    @property
    def untrained(self) -> list[str]:
        """The arms that need no training, and no endpoint of others."""
        from evaluation.arms import TRAINED

        named = self.project.evaluation
        return [name for name in named.arms if name not in TRAINED and name not in named.endpoints]

    def decide(self, served: pipeline.Served) -> "Staging":
        """Measure the arms that cost nothing to make, and whether a training could repay what it costs."""
        from evaluation.compare import ask, check_questions, grade_all
        from evaluation.verdicts.staging import decide

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
        from evaluation.asking.corrections import load_corrections, watch
        from retrieval.errors import RetrievalUnavailable
        from tandem.corrected import corrected

        config = self.project.evaluation
        own = [arm for arm in arms if arm.endpoint is None]
        if config.corrections is None or not own or served.collection is None:
            return []
        corrections = load_corrections(config.corrections)
        forgotten = pipeline.forgotten(self.project)
        try:
            with corrected(self.project.retrieval, served.collection, self.uri, corrections, forgotten) as copied:
                copy, correct = copied
                there = [replace(arm, model=arm.model.replace(f"+{served.collection}", f"+{copy}")) for arm in own]
                found = watch(config, served.url, there, corrections, correct, self.console.progress)
        except RetrievalUnavailable as error:  # the arms that need it fail one by one; the others are still measured
            self.console.stage("correct", f"not measured: {error}")
            return []
        told = [f"{arm.title} {each.new.right} of {each.num_questions}" for arm, each in zip(own, found, strict=True)]
        self.console.stage("correct", f"corrected answers: {', '.join(told)}")
        return found

    def setting(self, staging: "Staging | None" = None, freshness: "Sequence[Freshness]" = ()) -> "Setting":
        """What is known of the arms at this point."""
        from evaluation.compare import Setting

        seconds = {kind: adapter.manifest.metrics.get("worker_s") for kind, adapter in self.adapters.items()}
        arms = {arm: kind for kind, arms in ARMS_OF.items() for arm in arms}
        return Setting(
            versions={} if self.project.retrieval.live else self.versions(),
            answers=self.run.path / "answers.sqlite" if self.fresh else self.project.storage.answers(self.project.name),
            trained=self.trained,
            training_s={arm: found for arm, kind in arms.items() if (found := seconds.get(kind))},
            indexing_s=self.inventory.seconds if self.inventory else None,
            index_version=self.inventory.digest if self.inventory else None,
            staging=staging,
            freshness=freshness,
            gated=self.gated,
        )

    @property
    def gated(self) -> tuple[str, str | None] | None:
        """The arm that stands before its gates, and the one of the version that it would replace."""
        new = next((arm for arm in ARMS_OF["tuned"] if arm in self.project.evaluation.arms), None)
        if new is None or "tuned" not in self.adapters:
            return None
        return new, "live" if "live" in self.adapters else None

    def versions(self) -> dict[str, str]:
        """What answers for each arm: weights, index, engine. Without these a kept answer may be another model's."""
        from evaluation.arms import RETRIEVING

        engine = self.project.serving.model_dump(mode="json", exclude=set(SAME_ANSWERS))
        base = [digest_model(self.project.model), engine, versions()]
        kinds = {arm: kind for kind, arms in ARMS_OF.items() for arm in arms} | {"live": "live"}
        retrieving = {*RETRIEVING, *(["live"] if self.gated and self.gated[0] == "tuned_retrieval" else [])}
        found = {name: self._day_of(name) for name in self.project.evaluation.endpoints}
        for name in {*self.project.evaluation.arms, "live"} - found.keys():
            adapter = self.adapters.get(kinds.get(name, ""))
            weights = adapter.manifest.content_digest if adapter else None
            found[name] = digest_json([base, weights, self.trainings.index if name in retrieving else None])
        return found

    def _day_of(self, endpoint: str) -> str:
        """Nobody says when a hosted model changes: what it said is good for a day."""
        there = self.project.evaluation.endpoints[endpoint]
        return digest_json([there.url, there.model, f"{datetime.now(UTC):%Y-%m-%d}"])

    def arms(self, served: pipeline.Served, names: "Sequence[str]") -> "list[Arm]":
        """The arms of these names, and beside a new version the live one."""
        from evaluation.arms import Arm, make_arms

        config, collection = self.project.evaluation, served.collection
        arms = make_arms(
            [name for name in names if name != "live"], tuned=served.models.get("tuned"), collection=collection,
            raft=served.models.get("raft"), endpoints=config.endpoints,
            shots=self.shots() if "few_shot" in names else (),
        )  # fmt: skip
        if "live" in served.models and self.gated:
            retrieves = self.gated[0] == "tuned_retrieval"
            arms.append(Arm("live", served.models["live"] + (f"+{collection}" if retrieves else "")))
        return arms

    def shots(self) -> "list[Shot]":
        """Training rows to stand in front of a question: drawn once, the same for every question."""
        from random import Random

        from evaluation.arms import Shot
        from training.data.rows import check_rows

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

    @property
    def trained(self) -> list[Path]:
        return [adapter.path / "trained.jsonl" for adapter in self.adapters.values()]
