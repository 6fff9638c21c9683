"""What `serve deploy` waits for on clusters that are still growing."""

import pytest

from cluster.hardware import Hardware
from serving.config import ServingConfig
from tandem.deployment import gpus_to_wait_for, have_joined
from tests.serving.machines import AUTOSCALED, CPU, EIGHT_H100, ONE_H200


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
    assert have_joined(num_cpus, hardware, needed) is joined


def test_gpus_are_counted_by_engines_and_their_parts() -> None:
    assert gpus_to_wait_for(ServingConfig()) == 1
    two = {"a": "m", "b": "m"}
    assert gpus_to_wait_for(ServingConfig(models=two, num_replicas=2)) == 4
    assert gpus_to_wait_for(ServingConfig(models=two, gpus_per_engine=0.5)) == 1
    assert gpus_to_wait_for(ServingConfig(engine_kwargs={"tensor_parallel_size": 4, "pipeline_parallel_size": 2})) == 8
