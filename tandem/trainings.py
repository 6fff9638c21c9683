"""The trainings that a project's arms need: what each is trained on, and the versions that are there already.

`tuned` is trained as the project says, and serves the arms `tuned` and `tuned_retrieval`. `raft` is trained on rows
that are made from the live index, and is published under a name of its own.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from tandem import pipeline
from tandem.console import Console
from tandem.project import Project

if TYPE_CHECKING:
    from evaluation.results import Report

ARMS_OF: dict[str, tuple[str, ...]] = {"tuned": ("tuned", "tuned_retrieval"), "raft": ("raft",)}


@dataclass
class Trainings:
    """`index` is the version of what retrieval finds: rows that were made from another are made anew."""

    project: Project
    index: str | None

    @cached_property
    def kinds(self) -> list[str]:
        return [kind for kind, arms in ARMS_OF.items() if set(arms) & set(self.project.evaluation.arms)]

    @property
    def missing(self) -> list[str]:
        """What is not trained yet."""
        return [kind for kind in self.kinds if self.known(kind) is None]

    def project_for(self, kind: str) -> Project:
        """The project as it is trained for `kind`."""
        if kind == "tuned":
            return self.project
        from training.config import DataSource

        epochs = self.project.evaluation.raft.epochs or self.project.training.epochs
        rows = DataSource(path=self.raft_rows)
        changed = {"data": (rows,), "adapter": f"{self.project.adapter}-raft", "epochs": epochs}
        return self.project.with_training(self.project.training.model_copy(update=changed))

    def known(self, kind: str) -> AdapterVersion | None:
        """The version that was trained from exactly these inputs, if there is one."""
        from training.run import fingerprint

        if kind == "raft":
            self.project.storage.fetch(self.project.name, f"raft/{self.raft_rows.name}")
        if kind == "raft" and not self.raft_rows.exists():
            return None
        project = self.project_for(kind)
        wanted = fingerprint(project.training, project.model, digest_model(project.model))
        return Registry.of(project.storage).find(project.adapter, wanted)

    def train(self, kind: str, run: Run, console: Console) -> AdapterVersion:
        """Train or reuse; a second training has a run of its own, since its files have the same names."""
        project = self.project_for(kind)
        if kind == self.kinds[0]:
            return pipeline.train(project, run, console)
        with pipeline.recorded(project, "train", console) as own:
            return pipeline.train(project, own, console)

    @cached_property
    def raft_rows(self) -> Path:
        """Where the rows for retrieval are: named by the rows and the index that they are made from."""
        from training.publish.publish import digest_sources

        config = self.project.evaluation
        name = digest_json([digest_sources(self.project.training), self.index, config.raft.max_rows, config.seed])[:16]
        return self.project.storage.runs(self.project.name) / "raft" / f"{name}.jsonl"

    def make_raft_rows(self, served: pipeline.Served, console: Console) -> None:
        from random import Random

        from tandem.raft import make_rows
        from training.data.rows import check_rows

        config = self.project.evaluation
        rows = check_rows(self.project.training).rows
        drawn = Random(config.seed).sample(rows, min(config.raft.max_rows or len(rows), len(rows)))
        made = make_rows(served.url, f"base+{served.collection}", drawn, self.raft_rows, console.progress)
        if copy := self.project.storage.copy(self.raft_rows.parent):
            copy.push()
        console.stage("raft", made.told)


def adapters_of(report: "Report", registry: Registry) -> dict[str, AdapterVersion]:
    """The versions that an earlier report measured, by what they were trained as. Raises TandemError for one that is
    gone."""
    kinds = {arm: kind for kind, arms in ARMS_OF.items() for arm in arms} | {"live": "live"}
    found = {}
    for arm in report.arms:
        # base:NAME@VERSION for an adapter, NAME-VERSION for a whole model
        named = re.match(r"(?:base:(.+)@|(.+)-)(\d+)(?:\+|$)", arm.model)
        if arm.name in kinds and named:
            found[kinds[arm.name]] = registry.get(named[1] or named[2], int(named[3]))
    return found
