import pytest

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.engine.engine_args import (
    check_engine_kwargs,
    check_settings,
    engine_environment,
    engine_kwargs,
    known_engine_arguments,
    known_reasoning_parsers,
    known_tool_parsers,
)
from serving.engine.sharing import GpuShare
from tests.serving.machines import ALL, AUTOSCALED, CPU, ONE_A10, ONE_H200, V100, Hardware, node


@pytest.mark.parametrize("hardware", ALL.values(), ids=ALL)
def test_everything_that_we_set_is_known(hardware: Hardware) -> None:
    for share in (GpuShare(), GpuShare(0.5, 0.46)):
        assert set(engine_kwargs(ServingConfig(kv_cache_gib=2), hardware, None, share)) <= known_engine_arguments()


def test_names_of_users_are_known() -> None:
    users = ("tensor_parallel_size", "pipeline_parallel_size", "quantization", "speculative_config",
             "enable_chunked_prefill", "enable_auto_tool_choice", "tool_call_parser")  # fmt: skip
    check_engine_kwargs(users)


def test_a_name_that_vllm_does_not_know_is_refused_with_those_like_it() -> None:
    with pytest.raises(TandemError, match="max_num_seqs"):
        check_engine_kwargs(["max_num_seq"])


@pytest.mark.parametrize(("hardware", "keys"), [(CPU, set()), (ONE_H200, {"max_num_batched_tokens"})])
def test_what_an_engine_gets_by_default(hardware: Hardware, keys: set[str]) -> None:
    kwargs = engine_kwargs(ServingConfig(), hardware, 40_960)
    if hardware.kind == "cpu":
        assert (kwargs["max_model_len"], kwargs["max_num_seqs"], kwargs["enforce_eager"]) == (2048, 64, True)
        assert kwargs["kv_cache_memory_bytes"] == 2**30
    else:
        assert (kwargs["max_model_len"], kwargs["max_num_seqs"]) == (-1, 1024)
        assert not {"enforce_eager", "kv_cache_memory_bytes", "worker_extension_cls"} & kwargs.keys()
    assert keys <= engine_kwargs(ServingConfig(), hardware, None, GpuShare(0.5, 0.46)).keys()


def test_a_users_extension_of_the_worker_stays_and_another_worker_is_refused() -> None:
    extended = ServingConfig(engine_kwargs={"worker_extension_cls": "mine.Extension"})
    kwargs = engine_kwargs(extended, ONE_H200, None)
    assert kwargs["worker_extension_cls"] == "mine.Extension"
    assert kwargs["worker_cls"] == "serving.engine.gpu_worker.Worker" and "worker_cls" not in engine_kwargs(
        ServingConfig(), CPU, None
    )
    with pytest.raises(TandemError, match="worker_cls"):
        engine_kwargs(ServingConfig(engine_kwargs={"worker_cls": "mine.Worker"}), ONE_H200, None)


def test_the_cache_has_the_size_that_is_set_on_a_gpu_too() -> None:
    assert engine_kwargs(ServingConfig(kv_cache_gib=4), ONE_H200, None)["kv_cache_memory_bytes"] == 4 * 2**30


def test_settings_are_checked_against_what_will_run_them() -> None:
    on_gpu = ServingConfig(engine_kwargs={"enforce_eager": False, "kv_cache_memory_bytes": 2**31})
    for hardware in (ONE_H200, AUTOSCALED, None):
        check_settings(on_gpu, hardware)
    with pytest.raises(TandemError, match="enforce_eager"):
        check_settings(on_gpu, CPU)
    for hardware in (ONE_H200, CPU, None):
        with pytest.raises(TandemError, match="max_num_seqs"):
            check_settings(ServingConfig(max_num_seqs=8, engine_kwargs={"max_num_seqs": 3}), hardware)


def test_a_precision_that_the_hardware_lacks_is_refused_in_words() -> None:
    with pytest.raises(TandemError, match=r"float32.*serving\.adapters: false"):
        engine_kwargs(ServingConfig(dtype="float32"), ONE_H200, None)
    assert engine_kwargs(ServingConfig(dtype="float32", adapters=False), ONE_H200, None)["dtype"] == "float32"
    assert engine_kwargs(ServingConfig(dtype="float32"), ONE_H200, None, has_adapters=False)["dtype"] == "float32"
    assert engine_kwargs(ServingConfig(dtype="float32"), CPU, None)["dtype"] == "float32"
    old = Hardware((node(V100),))
    with pytest.raises(TandemError, match=r"bfloat16.*float16"):
        engine_kwargs(ServingConfig(dtype="bfloat16"), old, None)
    assert engine_kwargs(ServingConfig(), old, None)["dtype"] == "auto", "vLLM takes float16 there"


@pytest.mark.parametrize("hardware", [CPU, ONE_A10])
def test_without_adapters_nothing_of_them_is_set(hardware: Hardware) -> None:
    kwargs = engine_kwargs(ServingConfig(adapters=False), hardware, None)
    assert kwargs["enable_lora"] is False
    assert not {"max_loras", "max_cpu_loras", "max_lora_rank", "worker_extension_cls"} & kwargs.keys()


@pytest.mark.slow
def test_the_names_are_those_of_vllms_own_classes() -> None:
    import dataclasses

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    fields = {field.name for kind in (AsyncEngineArgs, FrontendArgs) for field in dataclasses.fields(kind)}
    assert known_engine_arguments() == fields


def test_engines_on_gpus_count_them_as_ray_does() -> None:
    assert engine_environment(ServingConfig(), ONE_H200)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_DEVICE_ORDER" not in engine_environment(ServingConfig(), CPU)


def test_a_reasoning_parser_is_one_of_the_installed_vllm() -> None:
    assert {"qwen3", "deepseek_r1", "mistral", "openai_gptoss"} <= known_reasoning_parsers()
    config = ServingConfig(reasoning_parser="qwen3")
    check_settings(config, CPU)
    assert engine_kwargs(config, CPU, None)["reasoning_parser"] == "qwen3"
    assert "reasoning_parser" not in engine_kwargs(ServingConfig(), CPU, None)
    with pytest.raises(TandemError, match=r"reasoning_parser.* qwen9.*\n?.*qwen3"):
        check_settings(ServingConfig(reasoning_parser="qwen9"), CPU)
    check_settings(ServingConfig(reasoning_parser="mine", engine_kwargs={"reasoning_parser_plugin": "mine.py"}), CPU)
    with pytest.raises(TandemError, match="reasoning_parser"):
        engine_kwargs(ServingConfig(reasoning_parser="qwen3", engine_kwargs={"reasoning_parser": "mistral"}), CPU, None)


def test_a_parser_of_tool_calls_is_one_of_the_installed_vllm() -> None:
    assert {"hermes", "mistral", "llama3_json", "qwen3_coder"} <= known_tool_parsers()
    config = ServingConfig(tool_call_parser="hermes")
    check_settings(config, CPU)
    kwargs = engine_kwargs(config, CPU, None)
    assert (kwargs["tool_call_parser"], kwargs["enable_auto_tool_choice"]) == ("hermes", True)
    assert not {"tool_call_parser", "enable_auto_tool_choice"} & engine_kwargs(ServingConfig(), CPU, None).keys()
    with pytest.raises(TandemError, match=r"tool_call_parser.* hermes9.*\n?.*hermes"):
        check_settings(ServingConfig(tool_call_parser="hermes9"), CPU)
    check_settings(ServingConfig(tool_call_parser="mine", engine_kwargs={"tool_parser_plugin": "mine.py"}), CPU)
    with pytest.raises(TandemError, match="enable_auto_tool_choice"):
        engine_kwargs(
            ServingConfig(tool_call_parser="hermes", engine_kwargs={"enable_auto_tool_choice": False}), CPU, None
        )
