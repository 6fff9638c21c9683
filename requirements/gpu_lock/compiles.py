"""Compile and link one thing that the GPU path compiles where it runs, by the vendor's own sources and flags.

Its arguments are the thing and a compute capability: cub, triton, deep_gemm, sampler, or an op of DeepSpeed.
"""

import ctypes
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CUB = """
#include <cub/cub.cuh>
__global__ void sums(const float* in, float* out) {
    using Reduce = cub::BlockReduce<float, 128>;
    __shared__ typename Reduce::TempStorage storage;
    float sum = Reduce(storage).Sum(in[blockIdx.x * 128 + threadIdx.x]);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
size_t scan_bytes(const int* in, int* out, int n) {
    size_t bytes = 0;
    cub::DeviceScan::ExclusiveSum(nullptr, bytes, in, out, n);
    return bytes;
}
"""
BUILDERS = {
    "cpu_adam": "CPUAdamBuilder",
    "pin_memory": "PinMemoryBuilder",
    "async_io": "AsyncIOBuilder",
    "fused_adam": "FusedAdamBuilder",
}
DEEP_GEMM = {"9.0a": "sm90_fp8_gemm_1d2d", "10.0a": "sm100_fp8_fp4_gemm_1d1d"}


def cub(capability: str) -> str:
    """With the lock's own CUB, which FlashInfer and DeepGEMM bring copies of."""
    return _nvcc(CUB, capability, "-shared", "-Xcompiler", "-fPIC", f"-L{os.environ['CUDA_HOME']}/lib64")


def deep_gemm(capability: str) -> str:
    """The headers of DeepGEMM's kernels for FP8 weights; the kernels are templates, filled in for a model's shapes."""
    import vllm.third_party

    include = Path(vllm.third_party.__path__[0]) / "deep_gemm/include"
    flags = ["-std=c++20", "--expt-relaxed-constexpr", "--expt-extended-lambda", f"-I{include}", "-cubin"]
    return _nvcc(f"#include <deep_gemm/impls/{DEEP_GEMM[capability]}.cuh>\n", capability, *flags)


def triton(capability: str) -> str:
    """A kernel through Triton's own ptxas, and the C helper that it builds with gcc to launch kernels."""
    import triton.backends.nvidia.driver as driver
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile
    from triton.runtime.build import compile_module_from_src
    from triton_kernel import add

    number = int(re.sub(r"\D", "", capability))
    signature = {"x": "*bf16", "y": "*fp32", "n": "i32", "size": "constexpr"}
    source = ASTSource(add, signature, constexprs={(3,): 128})
    kernel = compile(source, target=GPUTarget("cuda", number, 32))
    helper = Path(driver.__file__).with_name("driver.c").read_text()
    compile_module_from_src(
        src=helper, name="cuda_utils", library_dirs=[os.environ["LD_LIBRARY_PATH"]],
        include_dirs=driver.include_dirs, libraries=driver.libraries,
    )  # fmt: skip
    return f"{len(kernel.asm['cubin'])} bytes for sm_{number}"


def deepspeed(name: str) -> str:
    """An op of DeepSpeed with its own sources and flags; PyTorch adds the compute capabilities."""
    import deepspeed.ops.op_builder as op_builder
    from torch.utils.cpp_extension import load

    builder = getattr(op_builder, BUILDERS[name])()
    assert builder.is_compatible(verbose=True), builder.error_log
    sources = [builder.deepspeed_src_path(path) for path in builder.sources()]
    flags = [flag for flag in getattr(builder, "nvcc_args", list)() if "compute_" not in flag]
    folder = Path(os.environ["TORCH_EXTENSIONS_DIR"]) / f"{name}{os.environ.get('TORCH_CUDA_ARCH_LIST', '')}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").unlink(missing_ok=True)  # of a step that was killed, for which PyTorch would wait for ever
    load(
        name, sources, is_python_module=False, build_directory=str(folder),
        extra_include_paths=[builder.deepspeed_src_path(path) for path in builder.include_paths()],
        extra_cflags=builder.strip_empty_entries(builder.cxx_args()),
        extra_cuda_cflags=builder.strip_empty_entries(flags),
        extra_ldflags=builder.strip_empty_entries(builder.extra_ldflags()),
    )  # fmt: skip
    return f"{(folder / f'{name}.so').stat().st_size} bytes"


def sampler() -> str:
    """FlashInfer's top-k and top-p sampling, which an engine asks for while it starts: compiled, linked, loaded."""
    from flashinfer.jit.sampling import gen_sampling_module

    specification = gen_sampling_module()
    specification.build(verbose=False)
    library = Path(specification.jit_library_path)
    ctypes.CDLL(str(library))
    return f"{library.stat().st_size} bytes, loaded"


def _nvcc(source: str, capability: str, *flags: str) -> str:
    number = capability.replace(".", "")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "source.cu").write_text(source)
        nvcc = Path(os.environ["CUDA_HOME"]) / "bin/nvcc"
        target = [f"-gencode=arch=compute_{number},code=sm_{number}", "-o", "out", "source.cu"]
        subprocess.run([nvcc, *flags, *target], cwd=folder, check=True)
        return f"{(Path(folder) / 'out').stat().st_size} bytes for sm_{number}"


if __name__ == "__main__":
    what, capability = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    own = {"cub": cub, "triton": triton, "deep_gemm": deep_gemm}
    print(own[what](capability) if what in own else sampler() if what == "sampler" else deepspeed(what))
