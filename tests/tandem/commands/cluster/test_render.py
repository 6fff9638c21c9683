"""How many pods the engines and the retrievers on GPUs take."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from tandem.commands.cluster.render import num_serving_pods
from tandem.project.project import Project, load


def project_in(folder: Path, **serving: Any) -> Project:
    (folder / "docs").mkdir(exist_ok=True)
    values = {
        "model": "org/model",
        "retrieval": {"sources": ["docs"], "uri": "http://milvus:19530"},
        "serving": serving,
    }
    (folder / "tandem.yaml").write_text(json.dumps(values))
    return load(folder / "tandem.yaml")


@pytest.mark.parametrize(
    ("serving", "gpus", "pods"),
    [
        ({}, 0, (1, 1)),
        ({"num_replicas": 3}, 1, (3, 3)),
        ({"gpus_per_retriever": 0.5}, 1, (1, 1)),
        ({"gpus_per_retriever": 0.5, "gpus_per_engine": 1}, 1, (2, 2)),
        ({"gpus_per_retriever": 0.5, "num_replicas": {"min": 1, "max": 2}}, 1, (1, 3)),
        ({"gpus_per_retriever": 0.5, "num_retrievers": 3}, 1, (3, 3)),
        ({"gpus_per_retriever": 1, "num_replicas": {"min": 1, "max": 7}}, 8, (1, 1)),
        ({"gpus_per_retriever": 1, "num_replicas": {"min": 1, "max": 8}}, 8, (1, 2)),
    ],
)
def test_retrievers_on_gpus_have_a_pod(
    tmp_path: Path, serving: dict[str, Any], gpus: int, pods: tuple[int, int]
) -> None:
    assert num_serving_pods(project_in(tmp_path, **serving), gpus) == pods


def test_parts_of_gpus_are_counted_by_whole_gpus(tmp_path: Path) -> None:
    """Of 0.6 each GPU holds one engine, whatever GPUs a pod has."""
    for number, gpus, pods in ((3, 1, 3), (10, 8, 2), (8, 8, 1)):
        models = {f"m{index}": "org/model" for index in range(number)}
        assert num_serving_pods(project_in(tmp_path, models=models, gpus_per_engine=0.6), gpus) == (pods, pods)


def test_an_engine_on_several_gpus_is_not_divided_between_pods(tmp_path: Path) -> None:
    models, users = {"a": "m", "b": "m", "c": "m"}, {"tensor_parallel_size": 4}
    assert num_serving_pods(project_in(tmp_path, models=models, engine_kwargs=users), 6) == (3, 3)


def test_a_retriever_on_a_gpu_is_refused_for_pods_without_one(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="the pods have no GPU"):
        num_serving_pods(project_in(tmp_path, gpus_per_retriever=0.5), 0)
