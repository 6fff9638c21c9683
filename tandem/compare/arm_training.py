"""The trainings that a project's arms need: what each is trained on, and the versions that are there already.

`tuned` is trained as the project says, and serves the arms `tuned` and `tuned_retrieval`. `raft` is trained on
rows that are made from the live index, and is published under another name.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from evaluation.arms import ARMS_OF
from evaluation.results import Report
from tandem.compare.cache_keys import raft_rows_name
from tandem.compare.raft import make_rows
from tandem.console import Console
from tandem.pipeline.endpoint import Served
from tandem.pipeline.runs import recorded
from tandem.pipeline.training import CheckedRows, find_trained, train
from tandem.project.project import Project
from training.config import DataSource


@dataclass
class Trainings:
    """The trainings of a comparison.

    `index_version` is that of what retrieval finds: rows that were made from another are made anew. `rows` are the
    project's training rows, where an arm is trained.
    """

    project: Project
    index_version: str | None
    rows: CheckedRows | None = None

    @cached_property
    def kinds(self) -> list[str]:
        return [kind for kind, arms in ARMS_OF.items() if set(arms) & set(self.project.evaluation.arms)]

    @cached_property
    def missing(self) -> list[str]:
        """What was not trained yet when the comparison began."""
        return [kind for kind in self.kinds if self.known(kind) is None]

    def project_for(self, kind: str) -> Project:
        """The project as it is trained for `kind`."""
        if kind == "tuned":
            return self.project
        epochs = self.project.evaluation.raft.epochs or self.project.training.epochs
        rows = DataSource(path=self.raft_rows)
        changed = {"data": (rows,), "adapter": f"{self.project.adapter}-raft", "epochs": epochs}
        return self.project.with_training(self.project.training.model_copy(update=changed))

    def known(self, kind: str) -> AdapterVersion | None:
        """The version that was trained from exactly these inputs, if there is one."""
        if kind == "raft":
            self.project.storage.fetch(self.project.name, f"raft/{self.raft_rows.name}")
        if kind == "raft" and not self.raft_rows.exists():
            return None
        return find_trained(self.project_for(kind), self.rows if kind == "tuned" else None)

    def train(self, kind: str, run: Run, console: Console) -> AdapterVersion:
        """Train or reuse; a second training has another run, since its files have the same names."""
        project = self.project_for(kind)
        rows = self.rows if kind == "tuned" else None
        if kind == self.kinds[0]:
            return train(project, run, console, rows=rows)
        with recorded(project, "train", console) as second_run:
            return train(project, second_run, console, rows=rows)

    @cached_property
    def raft_rows(self) -> Path:
        """Where the rows for retrieval are: named by the rows and the index that they are made from."""
        assert self.rows, "the arm `raft` is trained, so its rows were read"
        config, rows = self.project.evaluation, self.rows.report.rows
        # Earlier releases left out tools, system messages and weights of the same file, and made other rows from it.
        read = None if all(row.is_plain for row in rows) else [row.digest for row in rows]
        name = raft_rows_name(self.rows.digest, self.index_version, config.raft.max_rows, config.seed, read)
        return self.project.storage.runs(self.project.name) / "raft" / f"{name}.jsonl"

    def make_raft_rows(self, served: Served, console: Console) -> None:
        """Make the rows from the project's rows and what the endpoint retrieves for them."""
        assert self.rows, "the arm `raft` is trained, so its rows were read"
        config, rows = self.project.evaluation, self.rows.report.rows
        drawn = Random(config.seed).sample(rows, min(config.raft.max_rows or len(rows), len(rows)))
        made = make_rows(served.url, f"base+{served.collection}", drawn, self.raft_rows, console.progress)
        if copy := self.project.storage.copy(self.raft_rows.parent):
            copy.push()
        console.stage("raft", made.summary)


def adapters_of(report: Report, registry: Registry) -> dict[str, AdapterVersion]:
    """The versions that an earlier report measured, by what they were trained as.

    Raises:
        TandemError: a version is gone.
    """
    kinds = {arm: kind for kind, arms in ARMS_OF.items() for arm in arms} | {"live": "live"}
    adapters = {}
    for arm in report.arms:
        # base:NAME@VERSION for an adapter, NAME-VERSION for a whole model
        named = re.match(r"(?:base:(.+)@|(.+)-)(\d+)(?:\+|$)", arm.model)
        if arm.name in kinds and named:
            adapters[kinds[arm.name]] = registry.get(named[1] or named[2], int(named[3]))
    return adapters
