"""What Ray LLM and vLLM ask Ray for in an engine's placement group, without either of them."""

import os
from typing import Any


def read_device() -> int:
    return os.getpid()


class Workers:
    """An engine: a task that reads the device, then the worker, both in the first bundle."""

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = ray.util.get_current_placement_group()
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
        ray.get(ray.remote(num_cpus=0, num_gpus=0.001, scheduling_strategy=place)(read_device).remote(), timeout=30)
        part = float(os.environ["VLLM_RAY_PER_WORKER_GPUS"])
        worker = ray.remote(num_cpus=0, num_gpus=part, scheduling_strategy=place)(Worker)
        self.worker = worker.remote()
        self.gpu_ids = ray.get(self.worker.gpu_ids.remote(), timeout=30)

    def ids(self) -> list[str]:
        return list(map(str, self.gpu_ids))


class Worker:
    def gpu_ids(self) -> list[Any]:
        import ray

        return ray.get_gpu_ids()


class Gateway:
    def __init__(self, *engines: Any) -> None:
        self.engines = engines

    async def ids(self) -> list[list[str]]:
        return [await engine.ids.remote() for engine in self.engines]
