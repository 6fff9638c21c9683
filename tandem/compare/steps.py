"""The steps of a comparison, in their order, and what they have made so far: the index, the adapters, the run."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cluster.fingerprints.models import digest_model
from cluster.fingerprints.provenance import package_versions
from cluster.hardware import read_hardware
from cluster.registry.gate_records import Candidate, describe_gates
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from evaluation.arms import ARMS_OF, RETRIEVING, TRAINED, Arm, make_arms
from evaluation.asking.transport import visible_headers
from evaluation.config import VARIANTS, ArmName
from evaluation.measure import MeasurementContext, ask_arms, grade_all, refuse_trained
from evaluation.measure import measure as measure_arms
from evaluation.results import Freshness, Report, Staging
from evaluation.verdicts.sampling.clusters import distinct_rows
from evaluation.verdicts.staging import decide_training as decide_staging
from retrieval.prompt import PROMPT_HASH
from serving.client import connect
from tandem.compare import cache_keys
from tandem.compare.arm_training import Trainings
from tandem.compare.chat_template import base_chat_templates, thinks_by_template
from tandem.compare.check import CheckedData
from tandem.compare.corrections_run import measure_freshness
from tandem.console import Console
from tandem.pipeline import documents, endpoint
from tandem.pipeline.endpoint import Served
from tandem.pipeline.parity_check import ServedModel, ensure_parity
from tandem.pipeline.runs import Inventory
from tandem.pipeline.served_copies import served_base
from tandem.project.project import Project
from training.publish.publish import result_kind


@dataclass
class Comparison:
    """One comparison, inside a Ray session where the project's own endpoint is asked."""

    project: Project
    data: CheckedData
    run: Run
    uri: str
    console: Console
    fresh: bool = False
    adapters: dict[str, AdapterVersion] = field(default_factory=dict)
    """By what they were trained as; `live` is the version that the new one would replace."""

    inventory: Inventory | None = None

    def index(self) -> None:
        """Bring the collection up to date and write down what it holds."""
        if not self.project.retrieves or not self.data.needs_endpoint:
            return
        self.inventory = Inventory(self.run.path, self.project.storage.runs(self.project.name) / "indexing.json")
        report = documents.index(self.project, self.uri, self.console, self.inventory.write)
        self.inventory.record_time(report)

    @cached_property
    def trainings(self) -> Trainings:
        """The trainings that the arms need, once the index is up to date."""
        version = None
        if self.inventory:
            settings = self.project.retrieval.model_dump(mode="json")
            version = cache_keys.index_version(self.inventory.digest, settings, PROMPT_HASH)
        return Trainings(self.project, version, self.data.rows)

    def serve(self) -> AbstractContextManager[Served]:
        """The endpoint with the adapters that are there by now; none where only others are asked."""
        if not self.data.needs_endpoint:
            return nullcontext(Served("", {}, None))
        uri = self.uri if self.project.retrieves else None
        return endpoint.serve(self.project, uri, self.adapters, self.console)

    @property
    def merged(self) -> list[str]:
        """The whole models that will be served beside the bases, by what they are trained as."""
        if not self.project.tunes:
            return []
        trainings = Trainings(
            self.project, None, self.data.rows
        )  # `self.trainings` has to wait for the index, whose version it keeps
        kinds = trainings.kinds if result_kind(self.project.training) == "merged" else []
        live = self._live_version() if "tuned" in trainings.kinds else None
        if live is None or live.manifest.kind != "merged":
            return kinds
        known = trainings.known("tuned")
        return kinds if known and known.version == live.version else [*kinds, "live"]

    def decides(self, spend_all: bool) -> bool:
        """Whether to decide if a training is worth its cost: a training is missing, and some arms need none."""
        return bool(self.trainings.missing and self._arms_to_decide_by and not spend_all)

    def decide(self, served: Served) -> Staging:
        """Measure the arms that cost nothing to make, and decide whether a training could repay what it costs."""
        config, questions = self.project.evaluation, self.data.questions
        arms, progress = self.arms(served, self._arms_to_decide_by), self.console.progress
        collected = ask_arms(config, served.url, arms, questions, progress, self.setting())
        rows, _ = grade_all(config, served.url, arms, questions, collected, progress)
        staging = decide_staging(distinct_rows(rows), config)
        self.console.stage("stage", staging.reason)
        return staging

    @property
    def untrained_arms(self) -> list[ArmName]:
        """The arms that need no training, endpoints of others among them."""
        return [name for name in self.project.evaluation.arms if name not in TRAINED]

    @property
    def _arms_to_decide_by(self) -> list[ArmName]:
        return [name for name in self.untrained_arms if name not in self.project.evaluation.endpoints]

    def lacks_raft_rows(self) -> bool:
        """Whether rows have to be made before the arm `raft` can be trained."""
        return "raft" in self.trainings.missing and not self.trainings.raft_rows.exists()

    def make_raft_rows(self, served: Served) -> None:
        """Make the rows that the arm `raft` is trained on."""
        self.trainings.make_raft_rows(served, self.console)

    def train(self) -> None:
        """Train or reuse what the arms need; a live version that differs is measured beside the new one."""
        live = self._live_version()
        adapters = {kind: self.trainings.train(kind, self.run, self.console) for kind in self.trainings.kinds}
        if live and "tuned" in adapters and live.version != adapters["tuned"].version:
            adapters["live"] = live
        self.use(adapters)

    def use(self, adapters: dict[str, AdapterVersion]) -> None:
        """Serve these versions from now on. Raises TandemError where one of them was trained on a question."""
        self.adapters = adapters
        refuse_trained(self.data.questions, self._trained_files)

    def check_parity(self, served: Served) -> None:
        """Each new version is served as it was trained; it goes live here only where nothing is live yet."""
        for kind in self.trainings.kinds:
            project, version = self.trainings.project_for(kind), self.adapters[kind]
            model = ServedModel(served.url, served.models[kind], served_base(project, version))
            goes_live = kind != "tuned" or "live" not in self.adapters
            ensure_parity(project, version, self.console, model, promotes=goes_live)

    def measure(self, served: Served, names: Sequence[ArmName], staging: Staging | None) -> Report:
        """Ask every arm every question, grade, and write the reports into the run's folder."""
        arms = self.arms(served, names)
        freshness = measure_freshness(self.project, served, arms, self.data.corrections, self.uri, self.console)
        report = measure_arms(
            self.project.evaluation, served.url, arms, self.run, self.console.progress,
            self.setting(staging, freshness), self.data.questions,
        )  # fmt: skip
        self.console.stage("ask", f"{len(report.rows)} questions to {len(arms)} arms in {report.duration_s:.0f} s")
        self.announce_report()
        return report

    def announce_report(self) -> None:
        self.console.stage("report", f"{self.run.path / 'report.html'}, report.md and report.json")

    def pass_gates(self, report: Report) -> None:
        """Keep how the new version did at its gates; it replaces the live version where none of them holds it."""
        if not report.gates:
            return
        new, registry = self.adapters["tuned"], Registry.of(self.project.storage)
        check = registry.record_gates(
            new.name, new.version, [gate.model_dump() for gate in report.gates], self.run.id
        )  # fmt: skip
        live = self.adapters.get("live")
        if live is None:
            outcome = f"{_name(new)} was not compared with another version, since no other is live."
        elif check.holding:
            if new.version in registry.shares(new.name):  # without a parity check a version is published as live
                registry.promote(live.name, live.version)
            outcome = f"{_name(live)} stays live."
        else:
            registry.promote(new.name, new.version)
            outcome = f"{_name(new)} is live now."
        self.console.stage("gates", f"{describe_gates(check.gates, _name(new))} {outcome}")

    def arms(self, served: Served, names: Sequence[ArmName]) -> list[Arm]:
        """The arms of these names, and beside a new version the live version."""
        arms = make_arms(
            [name for name in names if name != "live"], tuned=served.models.get("tuned"), collection=served.collection,
            raft=served.models.get("raft"), endpoints=self.project.evaluation.endpoints, shots=self.data.shots,
        )  # fmt: skip
        if "live" in served.models and self._gated_arm:
            suffix = f"+{served.collection}" if self._live_retrieves else ""
            thinking = VARIANTS[self._gated_arm][1] if self._gated_arm in VARIANTS else None
            arms.append(Arm("live", served.models["live"] + suffix, thinking=thinking))
        # The adapters of a model have its chat template.
        templates = base_chat_templates(self.project) if any(arm.endpoint is None for arm in arms) else []
        return [
            arm if arm.endpoint else replace(arm, thinks=thinks_by_template(templates, arm.thinking)) for arm in arms
        ]

    def setting(self, staging: Staging | None = None, freshness: Sequence[Freshness] = ()) -> MeasurementContext:
        """What is known of the arms at this point."""
        return MeasurementContext(
            versions={} if self.project.retrieval.live else self.versions(),
            answers=self.run.path / "answers.sqlite" if self.fresh else self.project.storage.answers(self.project.name),
            trained=self._trained_files,
            training_s=self._training_s(),
            indexing_s=self.inventory.seconds if self.inventory else None,
            index_version=self.inventory.digest if self.inventory else None,
            staging=staging,
            freshness=freshness,
            candidate=self._candidate,
        )

    def versions(self) -> dict[ArmName, str]:
        """What answers for each arm: weights, index, engine. Without these a kept answer may be another model's."""
        config, today = self.project.evaluation, datetime.now(UTC).date()
        hosted = {
            name: cache_keys.hosted_version(other.url, other.model, today, visible_headers(other))
            for name, other in config.endpoints.items()
        }
        if not self.data.needs_endpoint:
            return hosted
        base = digest_model(self.project.model)
        settings = self.project.serving
        copies = {name: digest_model(settings.models[name]) for name in settings.copy_of}
        serving = cache_keys.engine_settings(settings, read_hardware(), copies)
        packages = package_versions()
        own = {
            name: cache_keys.arm_version(base, serving, packages, self._weights(name), self._index_version(name))
            for name in {*config.arms, "live"} - hosted.keys()
        }
        return hosted | own

    def retrieved(self, served: Served, earlier: Report) -> Mapping[str, set[str]]:
        """The documents that a search finds now for each question, by its id."""
        if served.collection is None:
            return {}
        sources: dict[str, set[str]] = {}
        with connect(served.url) as client:
            for row in earlier.rows:
                page = client.vector_stores.search(
                    served.collection, query=row.question.question, max_num_results=self.project.retrieval.top_k
                )
                sources[row.question.id] = {hit.filename for hit in page.data}
        return sources

    def _live_version(self) -> AdapterVersion | None:
        registry = Registry.of(self.project.storage)
        return registry.resolve(self.project.adapter) if registry.shares(self.project.adapter) else None

    @property
    def _candidate(self) -> Candidate | None:
        """The new version, which has to pass its gates, and the version that it would replace."""
        if self._gated_arm is None:
            return None
        new, live = self.adapters["tuned"], self.adapters.get("live")
        return Candidate(
            version=_name(new), arm=self._gated_arm, live=_name(live) if live else None,
            live_arm="live" if live else None,
        )  # fmt: skip

    @property
    def _gated_arm(self) -> ArmName | None:
        """The arm as which the new version is measured for its gates."""
        arms = (arm for arm in ARMS_OF["tuned"] if arm in self.project.evaluation.arms)
        return next(arms, None) if "tuned" in self.adapters else None

    @property
    def _live_retrieves(self) -> bool:
        """The live version is asked as the new version is: with documents or without."""
        return self._gated_arm in RETRIEVING

    @property
    def _trained_files(self) -> list[Path]:
        return [adapter.path / "trained.jsonl" for adapter in self.adapters.values()]

    def _training_s(self) -> dict[ArmName, float]:
        seconds = {kind: adapter.manifest.metrics.get("worker_s") for kind, adapter in self.adapters.items()}
        arms = {arm: seconds.get(kind) for kind, names in ARMS_OF.items() for arm in names}
        return {arm: worker_s for arm, worker_s in arms.items() if worker_s}

    def _weights(self, arm: ArmName) -> str | None:
        """The digest of the adapter that an arm is served with."""
        kinds = {name: kind for kind, names in ARMS_OF.items() for name in names} | {"live": "live"}
        adapter = self.adapters.get(kinds.get(arm, ""))
        return adapter.manifest.content_digest if adapter else None

    def _index_version(self, arm: ArmName) -> str | None:
        """The version of the index, for an arm that reads it."""
        retrieves = self._live_retrieves if arm == "live" else arm in RETRIEVING
        return self.trainings.index_version if retrieves else None


def _name(version: AdapterVersion) -> str:
    return f"{version.name}@{version.version}"
