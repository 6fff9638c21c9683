"""Two engines on one GPU, as far as Ray decides it: the GPU is a number that this session is given."""

from collections.abc import Iterator

import pytest

from serving.config import ServingConfig
from serving.deploy.serve_options import engine_options
from serving.engine.model_files import ModelFiles
from serving.engine.sharing import share_gpus
from tests.serving.gpu_workers import Gateway, Workers
from tests.serving.machines import ONE_H200

pytestmark = pytest.mark.slow


@pytest.fixture
def one_gpu() -> Iterator[None]:
    import ray
    from ray import serve

    ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    yield
    serve.shutdown()
    ray.shutdown()


@pytest.mark.usefixtures("one_gpu")
def test_a_large_and_a_small_engine_get_the_same_gpu() -> None:
    from ray import serve

    llama = ModelFiles(int(64e9), 8192, 262_144), ModelFiles(int(2e9), 8192, 65_536)
    shares = share_gpus(ServingConfig(), {"large": llama[0], "small": llama[1]}, ONE_H200)
    engines = [
        serve.deployment(Workers, **engine_options(ServingConfig(), ONE_H200, name, share)).bind()
        for name, share in shares.items()
    ]
    gateway = serve.deployment(Gateway, name="gateway", ray_actor_options={"num_cpus": 0}).bind(*engines)
    handle = serve.run(gateway, name="shared", route_prefix=None)
    assert handle.ids.remote().result(timeout_s=60) == [["0"], ["0"]]
