"""Import what the GPU path imports; prints how many modules, exits with 1 where one fails that may not.

Its argument is one of tandem, training, vllm and flashinfer.
"""

import importlib
import os
import pkgutil
import sys
import traceback

PACKAGES = ("tandem", "cluster", "training", "retrieval", "serving", "evaluation")
MODULES = {
    "training": """
        torch torch.distributed torch.nn.attention.varlen torch.utils.cpp_extension triton triton.language
        bitsandbytes bitsandbytes.nn bitsandbytes.optim liger_kernel.transformers liger_kernel.ops.cross_entropy
        liger_kernel.ops.fused_linear_cross_entropy transformers peft.tuners.lora.bnb
        deepspeed deepspeed.ops.adam deepspeed.ops.op_builder deepspeed.runtime.zero.stage3
        deepspeed.runtime.zero.stage_1_and_2 deepspeed.runtime.bf16_optimizer deepspeed.runtime.chunked_cross_entropy
        deepspeed.runtime.sequence_parallel.ulysses_sp deepspeed.checkpoint.ds_to_universal ray.train.torch
        sentence_transformers
    """,
    "flashinfer": """
        flashinfer flashinfer.sampling flashinfer.topk flashinfer.decode flashinfer.prefill flashinfer.mla
        flashinfer.fused_moe flashinfer.comm flashinfer.gemm flashinfer.norm flashinfer.rope flashinfer.jit
        flashinfer.autotuner
    """,
    "vllm": """
        vllm vllm._C_stable_libtorch vllm._moe_C_stable_libtorch vllm._flashmla_C vllm._qutlass_C
        vllm.cumem_allocator vllm.vllm_flash_attn vllm.vllm_flash_attn._vllm_fa2_C
        vllm.vllm_flash_attn._vllm_fa3_C vllm.vllm_flash_attn.cute vllm.third_party.deep_gemm
        vllm.v1.worker.gpu_worker vllm.v1.worker.gpu_model_runner vllm.v1.worker.gpu.model_runner
        vllm.v1.worker.gpu.warmup vllm.v1.worker.gpu.sample.sampler vllm.v1.worker.gpu.sample.prompt_logprob
        vllm.v1.sample.ops.topk_topp_sampler vllm.v1.sample.ops.topk_topp_triton
        vllm.v1.attention.backends.flash_attn vllm.v1.attention.backends.flashinfer
        vllm.v1.attention.backends.triton_attn vllm.v1.attention.backends.fa_utils
        vllm.v1.attention.backends.mla.flashattn_mla vllm.v1.attention.backends.mla.cutlass_mla
        vllm.v1.executor.ray_executor vllm.v1.executor.ray_executor_v2 vllm.v1.executor.multiproc_executor
        vllm.v1.engine.async_llm vllm.v1.engine.core vllm.lora.punica_wrapper.punica_gpu
        vllm.lora.ops.triton_ops vllm.model_executor.warmup.kernel_warmup
        vllm.model_executor.layers.fused_moe vllm.model_executor.layers.quantization.fp8
        vllm.model_executor.layers.quantization.auto_awq vllm.model_executor.layers.quantization.auto_gptq
        vllm.model_executor.layers.quantization.modelopt
        vllm.distributed.device_communicators.cuda_communicator vllm.distributed.device_communicators.pynccl
        vllm.distributed.device_communicators.custom_all_reduce vllm.compilation.backends
        vllm.model_executor.models.llama vllm.model_executor.models.qwen2 vllm.model_executor.models.qwen3
        vllm.model_executor.models.qwen3_moe vllm.model_executor.models.mistral vllm.model_executor.models.gemma3
        vllm.model_executor.models.phi3 vllm.model_executor.models.mixtral vllm.model_executor.models.gpt_oss
        fastsafetensors instanttensor quack tilelang humming xgrammar ray.serve.llm
        ray.llm._internal.serve.engines.vllm.vllm_engine
    """,
}
NEED_A_GPU = {"vllm.v1.attention.backends.mla.cutlass_mla": "it makes a workspace for the GPU while it is imported"}


def main(group: str) -> int:
    if group == "training":
        os.environ["DS_ACCELERATOR"] = "cuda"  # as on a machine with a GPU, where it is found
    if group == "vllm":
        take_cuda()
    names = list(own_modules()) if group == "tandem" else MODULES[group].split()
    faults = {name: fault for name in names if (fault := try_import(name))}
    for name, fault in faults.items():
        print(f"{name}: {fault}")
    print(f"{len(names) - len(faults)} of {len(names)} modules" + (f", not {', '.join(faults)}" if faults else ""))
    return int(bool(faults.keys() - NEED_A_GPU))


def take_cuda() -> None:
    """Have vLLM take this machine for one with an H100, so that its modules import what they import there."""
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    class DescribedPlatform(NonNvmlCudaPlatform):  # type: ignore[misc]
        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
            return DeviceCapability(9, 0)

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return "NVIDIA H100 80GB HBM3"

    vllm.platforms._current_platform = DescribedPlatform()


def own_modules() -> list[str]:
    """Every module of Tandem's packages."""
    found = []
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        found += [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    return [name for name in found if not name.endswith("__main__")]


def try_import(name: str) -> str:
    """What went wrong; empty where nothing did."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a vendor's module may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        first = str(error).partition("\n")[0][:200]
        return f"{type(error).__name__}: {first} ({place.filename.partition('site-packages/')[2]}:{place.lineno})"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
