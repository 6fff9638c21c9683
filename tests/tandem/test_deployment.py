"""What `serve deploy` waits for on clusters that are still growing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import TandemError
from cluster.hardware import Hardware
from serving.config import ServingConfig
from serving.deploy.run import plan_gpus
from serving.engine.model_files import ModelFiles
from serving.engine.packing import GpuDemand, gpu_demand
from tandem.deployment import have_joined
from tests.serving.machines import AUTOSCALED, CPU, EIGHT_H100, H100, H200, ONE_H200, node


@pytest.mark.parametrize(
    ("num_cpus", "hardware", "needed", "joined"),
    [
        (0, CPU, 1, False),
        (4, CPU, 1, True),
        (4, ONE_H200, 1, True),
        (4, ONE_H200, 2, False),
        (64, EIGHT_H100, 8, True),
        (0, AUTOSCALED, 4, True),
        (4, AUTOSCALED, 5, False),
    ],
)
def test_the_application_is_built_once_its_hardware_is_known(
    num_cpus: float, hardware: Hardware, needed: int, joined: bool
) -> None:
    assert have_joined(num_cpus, hardware, GpuDemand(needed)) is joined


def test_gpus_are_counted_by_engines_and_their_parts() -> None:
    two = {"a": "m", "b": "m"}
    for config, gpus in (
        (ServingConfig(), 1),
        (ServingConfig(models=two, num_replicas=2), 4),
        (ServingConfig(models=two, gpus_per_engine=0.5), 1),
        (ServingConfig(models=two | {"c": "m"}, gpus_per_engine=0.6), 3),
        (ServingConfig(engine_kwargs={"tensor_parallel_size": 4, "pipeline_parallel_size": 2}), 8),
    ):
        assert gpu_demand(config, retrieves=False).num_gpus == gpus


def test_a_retriever_with_a_part_of_the_only_gpu_is_not_waited_for() -> None:
    config = ServingConfig(gpus_per_retriever=0.25)
    one_later = Hardware((node(),), max_gpus=1)
    for hardware in (ONE_H200, one_later):
        assert have_joined(4, hardware, gpu_demand(config, retrieves=True))
        assert plan_gpus(config, {"base": ModelFiles(10**9)}, hardware, retrieves=True)["base"].gpus == 0.75
    whole = config.model_copy(update={"gpus_per_engine": 1.0})
    assert not have_joined(4, ONE_H200, gpu_demand(whole, retrieves=True))


def test_nodes_that_are_too_small_for_another_engine_are_waited_beyond() -> None:
    models = {"a": "m", "b": "m", "c": "m"}
    demand = gpu_demand(ServingConfig(models=models, engine_kwargs={"tensor_parallel_size": 4}), retrieves=False)
    six = node(*[H100] * 6)
    assert not have_joined(64, Hardware((six, six)), demand)
    assert have_joined(64, Hardware((six, six, six)), demand)


@given(
    st.integers(1, 6), st.sampled_from([None, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.6, 0.9, 1.0]),
    st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.6, 1.0]), st.integers(1, 5), st.integers(1, 3), st.integers(0, 12),
    st.booleans(),
)  # fmt: skip
def test_what_is_waited_for_is_what_is_planned(
    num_models: int, share: float | None, retriever: float, retrievers: int, replicas: int, gpus: int, is_later: bool
) -> None:
    """GPUs that are enough to stop waiting are enough to place everything, and one less is not."""
    models = {f"m{index}": "m" for index in range(num_models)}
    config = ServingConfig(models=models, gpus_per_engine=share, gpus_per_retriever=retriever,
                           num_retrievers=retrievers, num_replicas=replicas)  # fmt: skip
    demand = gpu_demand(config, retrieves=True)
    hardware = Hardware((node(),), max_gpus=gpus) if is_later else Hardware((node(*[H200] * gpus),))
    files = dict.fromkeys(models, ModelFiles(10**6, 128, 64, dtype="bfloat16"))
    assert demand.fits(hardware) is (demand.num_gpus <= gpus)
    assert demand.num_pods(1) == demand.num_gpus
    if not gpus:
        return
    if have_joined(64, hardware, demand):
        planned = plan_gpus(config, files, hardware, retrieves=True)
        assert all(part.gpus >= demand.share for part in planned.values())
    elif share is not None or replicas > 1:
        with pytest.raises(TandemError):
            plan_gpus(config, files, hardware, retrieves=True)
