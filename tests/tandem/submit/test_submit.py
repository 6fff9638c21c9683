"""`--submit` before anything is sent: what could not work on a cluster is refused, what is sent is shown."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.jobs.wheel import build_wheel
from serving.deploy.serve_options import LIMITER_CPUS
from tandem.project.project import load
from tandem.submit.job_package import prepare_job
from tandem.submit.submit import SubmitOptions, submit_if_asked
from tests.machines import nodes
from tests.ports import free_port
from tests.tandem.test_command import MODEL, refused, replace, tandem


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that could run on a cluster, which nobody answers for."""
    folder = tmp_path / "small"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "library.md").write_text("# Library\n\nThe opening hour of Library is 9.\n")
    (folder / "docs" / ".env").write_text("SECRET=1\n")
    (folder / "docs" / "plan.png").write_bytes(b"PNG")
    (folder / "train.jsonl").write_text('{"prompt": "Q?", "completion": "A."}\n')
    (folder / "questions.jsonl").write_text('{"id": "1", "question": "Which?", "answers": ["9"]}\n')
    (folder / "tandem.yaml").write_text(
        f"project: small\nmodel: {MODEL}\nstorage: {tmp_path}/shared\n"
        f"cluster: {{address: 'http://127.0.0.1:{free_port()}'}}\ntraining: {{data: train.jsonl}}\n"
        "retrieval: {sources: [docs], uri: 'http://milvus:19530'}\nevaluation: {questions: questions.jsonl}\n"
    )
    return folder


def address(project: Path) -> str:
    return (project / "tandem.yaml").read_text().split("address: '")[1].split("'")[0]


def refusal(project: Path, verb: str, *arguments: str, submit: bool = True, **options: Any) -> str:
    """What the command says, in this process: each of its own takes a second."""
    submit_options = SubmitOptions(**{"submit": submit, **options})
    with pytest.raises(TandemError) as error:
        submit_if_asked(submit_options, verb, arguments, project / "tandem.yaml", as_json=False)
    return str(error.value)


def test_a_cluster_that_nobody_answers_for(project: Path) -> None:
    error = refused(tandem(project, "train", "--submit"))
    assert f"No Ray cluster answers at {address(project)}" in error
    assert not (project.parent / "shared").exists(), "nothing is made here"


def test_a_cluster_that_is_this_machine(project: Path) -> None:
    replace(project, f"'{address(project)}'", "local")
    assert "cluster.address is 'local', which takes no jobs" in refusal(project, "train")
    assert "takes no jobs" in refused(tandem(project, "jobs", "list"))


@pytest.mark.parametrize("storage", ["./runs", "runs", "~/runs", "{folder}/runs"])
def test_storage_that_would_vanish_with_the_job(project: Path, storage: str) -> None:
    replace(project, f"{project.parent}/shared", storage.format(folder=project))
    assert "vanish with it" in refusal(project, "train")


@pytest.mark.parametrize("storage", ["s3://bucket/tandem", "'${STORAGE_OF_THE_CLUSTER}'"])
def test_storage_that_the_nodes_know(project: Path, storage: str) -> None:
    replace(project, f"{project.parent}/shared", storage)
    assert "No Ray cluster answers" in refusal(project, "train")


@pytest.mark.parametrize("verb", ["index", "compare"])
def test_documents_in_a_store_of_one_machine(project: Path, verb: str) -> None:
    replace(project, ", uri: 'http://milvus:19530'", "")
    assert "retrieval.uri is `local`" in refusal(project, verb)
    assert "No Ray cluster answers" in refusal(project, "train"), "a training needs no documents"


def test_what_does_not_run_on_a_cluster(project: Path) -> None:
    assert "a job has a copy of them" in refusal(project, "index", "--watch")
    assert "Add --submit" in refused(tandem(project, "train"))


def test_options_of_a_submission_alone(project: Path) -> None:
    assert "--detach goes with --submit" in refusal(project, "train", submit=False, detach=True)
    assert "--env goes with --submit" in refusal(project, "train", submit=False, env=("HOME",))


def test_a_variable_that_is_not_set_here(project: Path) -> None:
    assert "the environment variable is not set" in refusal(project, "train", env=("NO_SUCH",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("evaluation: {", "evaluation: {judge: {model: m, api_key: sk-1, calibration: questions.jsonl}, "),
        ("training: {", "serving: {redis_url: 'redis://:hunter2@redis:6379'}\ntraining: {"),
    ],
)
def test_a_secret_in_the_project_file(project: Path, old: str, new: str) -> None:
    replace(project, old, new)
    error = refusal(project, "train")
    assert "holds a secret" in error
    assert "tandem.yaml:" in error
    assert "sk-1" not in error and "hunter2" not in error


def test_a_secret_from_the_environment_of_the_cluster(project: Path) -> None:
    replace(
        project, "evaluation: {", "evaluation: {judge: {model: m, api_key: '${KEY}', calibration: questions.jsonl}, "
    )
    prepared = prepare_job(load(project / "tandem.yaml", unset_as_written=True), "compare")
    assert prepared.variables == ("KEY", "MILVUS_TOKEN")


@pytest.fixture
def written(project: Path) -> Path:
    done = tandem(project, "compare", "--all", "--submit", "--write", "job")
    assert done.returncode == 0, done.stderr
    assert "left out as a secret by its name" in done.stderr
    assert "left out as no document" in done.stderr
    return project / "job"


def test_a_written_package(written: Path) -> None:
    files = {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()}
    assert {name for name in files if "/model/" not in name} == {
        "job.json", "submit.sh", build_wheel().name, "working_dir/project/tandem.yaml",
        "working_dir/project/train.jsonl", "working_dir/project/questions.jsonl",
        "working_dir/project/docs/library.md",
    }  # fmt: skip
    job = json.loads((written / "job.json").read_text())
    assert shlex.split(job["entrypoint"]) == [
        "python", "-P", "-m", "tandem", "compare", "--all", "-c", "project/tandem.yaml",
    ]  # fmt: skip
    assert job["runtime_env"]["py_modules"] == [build_wheel().name]
    assert job["environment_of_the_cluster"] == ["MILVUS_TOKEN"]
    there = load(written / "working_dir" / "project" / "tandem.yaml")
    assert Path(there.model).is_dir() and written in Path(there.model).parents


def test_a_package_is_not_written_over_something(project: Path, written: Path) -> None:
    assert "is there already" in refusal(project, "train", write=written)
    assert "into a file" in refusal(project, "train", write=project / "new", env=("PATH",))


def test_json_names_every_file(project: Path) -> None:
    done = tandem(project, "index", "--submit", "--write", "job", "--json")
    sent = json.loads(done.stdout)["sent"]
    assert [file["name"] for file in sent["files"]] == ["project/tandem.yaml", "project/docs/library.md"]
    assert sent["size"] == sum(file["size"] for file in sent["files"])
    assert {Path(each["path"]).name: each["why"] for each in sent["left_out"]} == {
        ".env": "a secret by its name", "plan.png": "no document",
    }  # fmt: skip


def phases(project: Path, verb: str, num_gpus: int) -> dict[str, list[dict[str, float]]]:
    prepared = prepare_job(load(project / "tandem.yaml"), verb)
    return {phase.name: [dict(bundle) for bundle in phase.bundles] for phase in prepared.phases(nodes(num_gpus))}


def test_what_a_verb_needs_is_named(project: Path) -> None:
    replace(project, "training: {", "training: {workers: 3, ")
    driver, cpu, gpu = {"CPU": 1.0}, {"CPU": 1.0}, {"GPU": 1.0}
    assert phases(project, "train", 0)["training"] == [driver, cpu, cpu, cpu]
    assert phases(project, "train", 8)["training"] == [driver, gpu, gpu, gpu]
    assert phases(project, "index", 0)["indexing"] == [driver]
    gateway = {"CPU": 1 - LIMITER_CPUS}
    assert phases(project, "compare", 8)["serving"] == [driver, {"CPU": 1, "GPU": 1}, gateway, cpu]
    replace(project, "sources: [docs]", "sources: [docs], embedding_workers: 2, embedding_gpus_per_worker: 0.5")
    assert phases(project, "index", 8)["indexing"] == [driver, {"GPU": 0.5}, {"GPU": 0.5}]


def test_a_retriever_on_a_gpu_is_counted(project: Path) -> None:
    file = project / "tandem.yaml"
    file.write_text(f"{file.read_text()}\nserving: {{gpus_per_retriever: 0.25}}\n")
    assert phases(project, "compare", 8)["serving"][-1] == {"CPU": 1.0, "GPU": 0.25}


def test_automatic_workers_take_the_gpus_of_the_cluster(project: Path) -> None:
    assert phases(project, "train", 8)["training"] == [{"CPU": 1.0}, *[{"GPU": 1.0}] * 8]
    assert phases(project, "train", 0)["training"] == [{"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 1.0}]


def test_a_training_that_may_shrink_needs_its_fewest_workers(project: Path) -> None:
    replace(project, "training: {", "training: {workers: {min: 2, max: 9}, ")
    assert len(phases(project, "train", 8)["training"]) == 3


def test_base_and_trained_model_share_the_only_gpu(project: Path) -> None:
    replace(project, "training: {", "training: {method: full, ")
    shared, whole = {"CPU": 1.0, "GPU": 0.5}, {"CPU": 1.0, "GPU": 1.0}
    assert phases(project, "compare", 1)["serving"].count(shared) == 2
    assert phases(project, "compare", 8)["serving"].count(whole) == 2
    assert phases(project, "train", 1)["serving"].count(whole) == 1
