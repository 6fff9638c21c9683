"""What the node decides before vLLM is imported, for GPUs that nobody here has."""

import os
from pathlib import Path

import pytest

from cluster.compile_cache import FOLDERS
from cluster.cuda_compiler import SAMPLER
from cluster.errors import TandemError
from cluster.hardware import Gpu
from serving.engine.kernels import attention_arguments, prepare_kernels
from tests.cluster.nvidia_smi import driver

L4, H100 = Gpu("NVIDIA L4", 1, (8, 9)), Gpu("NVIDIA H100 80GB HBM3", 1, (9, 0))
B200, RTX = Gpu("NVIDIA B200", 1, (10, 0)), Gpu("NVIDIA GeForce RTX 5090", 1, (12, 0))
MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"


@pytest.mark.parametrize("gpus", [[], [L4], [H100] * 8, [RTX], [Gpu("unknown", 1)]])
def test_elsewhere_vllm_chooses_its_attention(gpus: list[Gpu]) -> None:
    def never() -> bool:
        raise AssertionError("the model is looked at where it matters only")

    assert attention_arguments(gpus, {}, never) == {}


def test_on_blackwell_attention_is_one_that_downloads_nothing() -> None:
    assert attention_arguments([B200], {}, lambda: False) == {"attention_backend": "FLASH_ATTN"}
    assert attention_arguments([B200], {}, lambda: True) == {}, "latent attention has backends of its own"
    for chosen in ({"attention_backend": "FLASHINFER"}, {"attention_config": {"backend": "FLASHINFER"}}):
        assert attention_arguments([B200], chosen, lambda: False) == {}


def test_the_names_are_vllms_own() -> None:
    """Read from its source: importing it takes ten seconds."""
    from serving.engine.engine_args import known_engine_arguments

    if not known_engine_arguments():
        pytest.skip("needs vLLM")
    import importlib.util

    spec = importlib.util.find_spec("vllm")
    assert spec and spec.origin
    vllm = Path(spec.origin).parent
    assert {"attention_backend", "attention_config"} <= known_engine_arguments()
    assert "    FLASH_ATTN = " in (vllm / "v1/attention/backends/registry.py").read_text()
    variables = (vllm / "envs.py").read_text()
    for name in (SAMPLER, "VLLM_CACHE_ROOT", "CUDA_HOME", "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY"):
        assert f'"{name}": lambda' in variables


def set_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """A copy, which the engine's preparation may change, without what it sets."""
    prepared = {*FOLDERS, SAMPLER, "CUDA_HOME", "TANDEM_COMPILED"}
    kept = {name: value for name, value in os.environ.items() if name not in prepared}
    monkeypatch.setattr(os, "environ", kept | variables)


def test_a_node_prepares_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "NVIDIA B200, 183359, 4, 580.95.05, 10.0, 0, GPU-a, Disabled")
    # Ray can hide every GPU from a replica whose engine has them in processes of its own
    # (RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO).
    set_environment(monkeypatch, XDG_CACHE_HOME=str(tmp_path), CUDA_VISIBLE_DEVICES="")
    cache, arguments = prepare_kernels(str(MODEL), {"max_num_seqs": 4})
    assert arguments == {"max_num_seqs": 4, "attention_backend": "FLASH_ATTN"}
    assert cache.folder.is_dir() and cache.folder.name.startswith("nvidia-b200-10-0-vllm-")
    assert {name: os.environ[name] for name in FOLDERS} == {
        name: str(cache.folder / part) for name, part in FOLDERS.items()
    }
    assert os.environ[SAMPLER] == "0", "this PyTorch is built for CPUs: nothing compiles for it"


def test_a_node_whose_driver_is_too_old_starts_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "NVIDIA L4, 23034, 4, 535.230.02, 8.9, 0, GPU-a, [N/A]")
    set_environment(monkeypatch, XDG_CACHE_HOME=str(tmp_path))
    with pytest.raises(TandemError, match="driver is 535"):
        prepare_kernels(str(MODEL), {})


def test_a_gpu_that_this_node_leaves_out_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = "NVIDIA Tesla K80, 11441, 4, 580.95.05, 3.7, 0, GPU-b, [N/A]"
    driver(tmp_path, monkeypatch, f"NVIDIA L4, 23034, 4, 580.95.05, 8.9, 0, GPU-a, [N/A]\n{old}")
    set_environment(monkeypatch, XDG_CACHE_HOME=str(tmp_path), CUDA_VISIBLE_DEVICES="0")
    cache, _ = prepare_kernels(str(MODEL), {})
    assert cache.folder.name.startswith("nvidia-l4-8-9-")
    os.environ["CUDA_VISIBLE_DEVICES"] = "1"
    with pytest.raises(TandemError, match="K80"):
        prepare_kernels(str(MODEL), {})


def test_a_home_that_cannot_be_written_costs_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, "NVIDIA L4, 23034, 4, 580.95.05, 8.9, 0, GPU-a, [N/A]")
    (tmp_path / "home").write_text("a file")
    set_environment(monkeypatch, XDG_CACHE_HOME=str(tmp_path / "home"))
    _, arguments = prepare_kernels(str(MODEL), {})
    assert arguments == {} and "VLLM_CACHE_ROOT" not in os.environ


def test_a_broken_gpu_stops_an_engine_only_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "NVIDIA L4, [GPU is lost], [GPU is lost], 580.95.05, 8.9, 0, GPU-a, [N/A]"
    driver(tmp_path, monkeypatch, f"{broken}\nNVIDIA L4, 23034, 4, 580.95.05, 8.9, 0, GPU-b, [N/A]")
    set_environment(monkeypatch, XDG_CACHE_HOME=str(tmp_path))
    prepare_kernels(str(MODEL), {})
    driver(tmp_path, monkeypatch, broken)
    with pytest.raises(TandemError, match="GPU is lost"):
        prepare_kernels(str(MODEL), {})
