"""vLLM's worker on a GPU, in a process whose environment names the compiler of its own node.

With Ray's executor the model runs in an actor of its own, which keeps the PATH and CUDA_HOME of its node's Ray and
takes from the replica only what these do not set (vllm/v1/executor/ray_executor_v2.py, `initialize_worker`). The engine
names this module by `worker_cls`, so that vLLM imports it before its own worker. A `worker_extension_cls` would come
too late: importing vLLM's worker already asks whether there is an nvcc on PATH, and keeps the answer
(`has_flashinfer`).
"""

from cluster.cuda_compiler import set_compiler

set_compiler()

from vllm.v1.worker.gpu_worker import Worker  # noqa: E402

__all__ = ["Worker"]
