"""A comparison reads rows and questions once, and looks for leaks once in each set of rows."""

import json
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.fingerprints.models import digest_model
from cluster.registry.registry import Registry
from cluster.storage.runs import Run
from evaluation.measure import check_questions
from evaluation.questions.leaks import find_leaks_among
from evaluation.results import Report
from tandem.compare.arm_training import Trainings
from tandem.compare.check import CheckedData, check_data
from tandem.compare.compare import run_all
from tandem.compare.steps import Comparison
from tandem.console import Console
from tandem.pipeline.endpoint import Served
from tandem.pipeline.training import read_rows
from tandem.project.project import Project, load
from tests.evaluation.endpoint import Endpoint, completion
from training.data.sources import open_source
from training.publish.publish import fingerprint, write_trained_rows
from training.run import prepare_run

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
COUNTED = (open_source, check_questions, find_leaks_among)


@contextmanager
def calls_of(*functions: Callable[..., Any]) -> Iterator[Counter[str]]:
    """Counts calls by name, from wherever they come: a profiler sees the code that runs, not how it was imported."""
    codes = {function.__code__: function.__name__ for function in functions}
    counts: Counter[str] = Counter()

    def count(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes:
            counts[codes[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(before)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Knows every answer, so that no training can repay its cost."""
    started = Endpoint(lambda model, text: completion(model, f"It is {text.rstrip('?').split()[-1]}.")).start()
    yield started
    started.shutdown()
    started.server_close()


def project_of(folder: Path, arms: Sequence[str]) -> Project:
    """Rows and questions about numbers; none of the questions is among the rows."""
    rows = [{"id": f"row-{n}", "source": f"{n}.md", "messages": [{"role": "user", "content": f"Which is {n}?"},
             {"role": "assistant", "content": f"It is {n}."}]} for n in range(20)]  # fmt: skip
    questions = [{"id": f"q{n}", "slice": "all", "question": f"What is {n}?", "answers": [str(n)]} for n in range(100)]
    for name, lines in (("rows", rows), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "tandem.yaml").write_text(
        f"project: demo\nmodel: {QUICKSTART / 'model'}\ntraining: {{data: rows.jsonl, parity_tolerance: null}}\n"
        f"evaluation: {{questions: questions.jsonl, arms: [{', '.join(arms)}]}}\n"
    )
    return load(folder / "tandem.yaml")


def publish(project: Project) -> None:
    """The version that a training of this project would give."""
    staging = project.storage.root / "staging"
    staging.mkdir()
    write_trained_rows(list(read_rows(project).report.rows), staging)
    base = digest_model(project.model)
    Registry.of(project.storage).publish(
        "demo", staging, base_model=project.model, base_digest=base, method="lora", rank=4, template_hash="t",
        prompt_hash=None, data_digest="d", fingerprint=fingerprint(project.training, project.model, base), metrics={},
    )  # fmt: skip


class AtEndpoint(Comparison):
    """A comparison whose endpoint is there already; it serves no documents."""

    url: str

    @contextmanager
    def serve(self) -> Iterator[Served]:
        yield Served(self.url, {kind: f"base:{kind}@1" for kind in self.adapters}, None)


def compared(project: Project, url: str) -> Report:
    """The steps of `tandem compare` but for what starts servers."""
    data = check_data(project, Console(), project.evaluation.arms)
    run = Run.start(project.storage, project.name, "compare", {})
    comparison = AtEndpoint(project, data, run, "nowhere", Console())
    comparison.url = url
    return run_all(comparison, spend_all=False)


def test_a_comparison_that_decides_against_a_training_reads_once(tmp_path: Path, endpoint: Endpoint) -> None:
    project = project_of(tmp_path, ["base", "few_shot", "tuned"])
    with calls_of(*COUNTED) as counts:
        report = compared(project, endpoint.url)
    assert [arm.name for arm in report.arms] == ["base", "few_shot"] and report.staging and not report.staging.trained
    assert counts == {"open_source": 1, "check_questions": 1, "find_leaks_among": 1}
    shown = next(body["messages"] for body in endpoint.bodies if len(body["messages"]) > 1)
    assert len(shown) == 2 * project.evaluation.few_shot + 1, "the examples are of the rows that were read"


def test_a_comparison_of_a_trained_version_reads_once(tmp_path: Path, endpoint: Endpoint) -> None:
    project = project_of(tmp_path, ["base", "few_shot", "tuned"])
    publish(project)
    with calls_of(*COUNTED) as counts:
        report = compared(project, endpoint.url)
    assert [arm.model for arm in report.arms] == ["base", "base", "base:tuned@1"]
    leaks_of_rows_and_of_the_version = 2
    assert counts == {"open_source": 1, "check_questions": 1, "find_leaks_among": leaks_of_rows_and_of_the_version}


def test_the_quickstart_is_checked_with_one_look_at_its_rows() -> None:
    project = load(QUICKSTART / "tandem.yaml")
    with calls_of(*COUNTED) as counts:
        data = check_data(project, Console(), project.evaluation.arms)
    assert counts == {"open_source": 1, "check_questions": 1, "find_leaks_among": 1}
    assert data.rows and data.rows.report.num_rows == 1061


def test_a_training_takes_the_rows_that_were_checked(tmp_path: Path) -> None:
    project = project_of(tmp_path, ["base", "tuned"])
    rows, config = read_rows(project), project.training
    for name in ("given", "read"):
        (tmp_path / name).mkdir()
    with calls_of(open_source) as counts:
        prepare_run(config, project.model, tmp_path / "given", rows.if_unchanged(config))
    assert counts == {}
    prepare_run(config, project.model, tmp_path / "read")
    for path in (tmp_path / "read").iterdir():
        if path.name != "job.json":  # it names its folder
            assert (tmp_path / "given" / path.name).read_bytes() == path.read_bytes()


def test_rows_that_have_changed_since_they_were_checked_are_read_again(tmp_path: Path) -> None:
    project = project_of(tmp_path, ["base", "tuned"])
    rows = read_rows(project)
    assert rows.if_unchanged(project.training) is rows.report
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "Which is 20?", "completion": "It is 20."}\n')
    assert rows.if_unchanged(project.training) is None


def test_rows_for_raft_are_named_by_the_rows_that_were_checked(tmp_path: Path) -> None:
    project = project_of(tmp_path, ["base", "tuned"])
    trainings = Trainings(project, "index", read_rows(project))
    with calls_of(open_source) as counts:
        assert trainings.raft_rows.parent == project.storage.runs("demo") / "raft"
    assert counts == {}


def test_what_is_checked_is_handed_on(tmp_path: Path) -> None:
    project = project_of(tmp_path, ["base"])
    data = check_data(project, Console(), ["base"])
    assert isinstance(data, CheckedData) and data.rows is None, "no arm needs rows"
    assert len(data.questions) == 100 and not data.shots and not data.corrections
