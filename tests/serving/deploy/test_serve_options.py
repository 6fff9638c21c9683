"""Settings -> the words of vLLM and Ray Serve."""

from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.deploy.run import plan_gpus
from serving.deploy.serve_options import (
    engine_options,
    gateway_options,
    limiter_options,
    max_requests,
    retriever_device,
    retriever_options,
)
from serving.engine.engine_args import engine_kwargs
from serving.engine.model_files import ModelFiles
from serving.engine.packing import retriever_gpus
from serving.engine.sharing import GpuShare
from tests.serving.machines import CPU, EIGHT_H100, H200, ONE_H200, WITHOUT_BF16, Hardware, node

GPU = EIGHT_H100


def test_a_cpu_engine_starts_eagerly_with_a_cache_of_the_given_size() -> None:
    kwargs = engine_kwargs(ServingConfig(kv_cache_gib=0.5), CPU, model_limit=None)
    assert kwargs["enforce_eager"] is True
    assert kwargs["kv_cache_memory_bytes"] == 2**29
    assert kwargs["worker_extension_cls"] == "serving.engine.cpu_lora.GroupedLora"


def test_a_cpu_without_bf16_computes_in_fp32_unless_told_otherwise() -> None:
    without = WITHOUT_BF16
    assert engine_kwargs(ServingConfig(), CPU, None)["dtype"] == "auto"
    assert engine_kwargs(ServingConfig(), without, None)["dtype"] == "float32"
    assert engine_kwargs(ServingConfig(dtype="bfloat16"), without, None)["dtype"] == "bfloat16"


def test_a_gpu_engine_keeps_vllms_own_choices() -> None:
    kwargs = engine_kwargs(ServingConfig(), GPU, model_limit=None)
    assert kwargs["worker_cls"] == "serving.engine.gpu_worker.Worker", "vLLM's own, with the node's compiler"
    assert not {"enforce_eager", "kv_cache_memory_bytes", "worker_extension_cls"} & set(kwargs)


def test_a_model_made_for_less_lowers_the_length() -> None:
    assert engine_kwargs(ServingConfig(max_model_len=4096), CPU, model_limit=1024)["max_model_len"] == 1024
    assert engine_kwargs(ServingConfig(max_model_len=512), CPU, model_limit=1024)["max_model_len"] == 512


def test_engine_kwargs_pass_through() -> None:
    assert engine_kwargs(ServingConfig(engine_kwargs={"block_size": 64}), CPU, None)["block_size"] == 64


def test_saying_the_same_twice_is_no_contradiction() -> None:
    assert engine_kwargs(ServingConfig(engine_kwargs={"max_num_seqs": 64}), CPU, None)["max_num_seqs"] == 64


@pytest.mark.parametrize(
    "users", [{"max_model_len": 100}, {"enable_lora": False}, {"model": "x"}, {"served_model_name": ["x"]}]
)
def test_a_contradiction_is_an_error_naming_the_key(users: dict[str, object]) -> None:
    with pytest.raises(TandemError, match=next(iter(users))):
        engine_kwargs(ServingConfig(engine_kwargs=users), CPU, None)


def test_the_gateway_is_where_it_is_asked() -> None:
    assert "resources" not in gateway_options(ServingConfig())["ray_actor_options"]
    pinned = gateway_options(ServingConfig(num_gateways=2), "node:10.0.0.7")
    assert pinned["ray_actor_options"]["resources"] == {"node:10.0.0.7": 0.001} and pinned["num_replicas"] == 2


def test_replicas_are_a_number_or_follow_the_load() -> None:
    fixed = engine_options(ServingConfig(num_replicas=3), GPU, "base")
    assert fixed["num_replicas"] == 3 and "autoscaling_config" not in fixed
    scaled = engine_options(ServingConfig(num_replicas={"min": 0, "max": 4}), GPU, "base")
    assert "num_replicas" not in scaled
    assert scaled["autoscaling_config"]["min_replicas"] == 0 and scaled["autoscaling_config"]["max_replicas"] == 4
    assert "request_router_config" in scaled and "request_router_config" not in engine_options(
        ServingConfig(), GPU, "x"
    )


def test_retrievers_follow_the_load_too() -> None:
    assert retriever_options(ServingConfig(), CPU)["num_replicas"] == 1
    for hardware in (CPU, ONE_H200):
        queued = retriever_options(ServingConfig(), hardware)["max_queued_requests"]
        assert queued == max_requests(ServingConfig(), hardware)
    scaled = retriever_options(ServingConfig(num_retrievers={"min": 1, "max": 4}), CPU)
    assert scaled["autoscaling_config"]["max_replicas"] == 4 and "request_router_config" not in scaled


@pytest.mark.parametrize(
    "wrong", [{"num_replicas": {"min": 3, "max": 2}}, {"num_replicas": 0}, {"models": {"embedding": "x"}}]
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServingConfig(**wrong)


def test_gpus_are_asked_for_one_per_device() -> None:
    config = ServingConfig(engine_kwargs={"tensor_parallel_size": 2, "pipeline_parallel_size": 2})
    bundles = engine_options(config, GPU, "base")["placement_group_bundles"]
    assert sum(bundle["GPU"] for bundle in bundles) == 4
    assert engine_options(ServingConfig(), CPU, "base")["placement_group_bundles"] == [{"CPU": 1}]


def test_a_gateway_holds_what_is_worked_on_and_what_may_wait() -> None:
    config = ServingConfig(max_ongoing_requests=10, max_queued_requests=5, num_replicas={"min": 1, "max": 2})
    assert max_requests(config, CPU) == 25 and max_requests(config, CPU, [GpuShare()] * 2) == 50
    assert max_requests(config.model_copy(update={"num_gateways": 2}), CPU) == 12
    assert engine_options(config, CPU, "base")["max_queued_requests"] >= 25, "a burst at an idle engine is let in"


def test_on_a_head_without_cpus_the_command_s_gateway_runs_and_the_limiter_does_not() -> None:
    assert gateway_options(ServingConfig(), "node:10.0.0.7")["ray_actor_options"]["num_cpus"] == 0
    limiter, gateway = (
        each["ray_actor_options"]["num_cpus"] for each in (limiter_options(), gateway_options(ServingConfig()))
    )
    assert limiter > 0 and limiter + gateway == 1, "both fit where one CPU is left"


def test_two_bases_have_two_names() -> None:
    assert engine_options(ServingConfig(), CPU, "a")["name"] != engine_options(ServingConfig(), CPU, "b")["name"]


def test_names_of_bases_are_checked(tmp_path: object) -> None:
    with pytest.raises(ValidationError):
        ServingConfig(models={"No Good": "x"})
    assert ServingConfig(models={"base": "Qwen/Qwen3-0.6B"}).models["base"] == "Qwen/Qwen3-0.6B"
    read = ServingConfig.model_validate({"models": {"base": "./m"}}, context={"folder": tmp_path})
    assert read.models["base"] == f"{tmp_path}/m"


@pytest.mark.parametrize(
    ("share", "num_retrievers", "gpus", "device"),
    [(0, 1, 0, "cpu"), (1, 2, 2, "cuda"), (0.25, 4, 1, "cuda"), (0.25, 5, 2, "cuda"), (0.3, 4, 2, "cuda"),
     (0.6, 2, 2, "cuda"), (0.1, 10, 1, "cuda"), (1 / 3, 3, 1, "cuda")],
)  # fmt: skip
def test_a_retriever_takes_the_gpus_that_it_is_given(share: float, num_retrievers: int, gpus: int, device: str) -> None:
    config = ServingConfig(gpus_per_retriever=share, num_retrievers=num_retrievers)
    options = retriever_options(config, GPU)["ray_actor_options"]
    assert options == ({"num_cpus": 1, "num_gpus": share} if share else {"num_cpus": 1})
    assert (retriever_gpus(config), retriever_device(config)) == (gpus, device)


def test_retrievers_that_scale_to_none_still_need_one() -> None:
    config = ServingConfig(gpus_per_retriever=1, num_retrievers={"min": 0, "max": 4})
    assert retriever_gpus(config) == 1


@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_a_retriever_on_a_gpu_is_refused_where_no_gpu_is_left_for_it(gpus: int) -> None:
    config, hardware = ServingConfig(gpus_per_retriever=0.5, num_retrievers=2), Hardware((node(*[H200] * gpus),))
    models = {"base": ModelFiles(10**9)}
    if gpus > 1:
        assert plan_gpus(config, models, hardware, retrieves=True) == {"base": GpuShare()}
    else:
        with pytest.raises(TandemError, match=r"serving\.gpus_per_retriever") as refused:
            plan_gpus(config, models, hardware, retrieves=True)
        assert "embeds questions and reranks on a CPU" in refused.value.accepted
    plan_gpus(config, models, hardware, retrieves=False)
    plan_gpus(ServingConfig(), models, hardware, retrieves=True)


def test_an_engine_takes_what_a_retriever_leaves_of_the_only_gpu() -> None:
    config = ServingConfig(gpus_per_retriever=0.25)
    assert plan_gpus(config, {"base": ModelFiles(10**9)}, ONE_H200, retrieves=True)["base"].gpus == 0.75


def test_a_part_of_a_gpu_reaches_the_bundle_the_worker_and_vllm() -> None:
    share = GpuShare(0.5, 0.46)
    options = engine_options(ServingConfig(), ONE_H200, "base", share)
    assert options["placement_group_bundles"] == [{"CPU": 1.0, "GPU": 0.5}]
    assert options["ray_actor_options"]["runtime_env"]["env_vars"]["VLLM_RAY_PER_WORKER_GPUS"] == "0.5"
    assert engine_kwargs(ServingConfig(), ONE_H200, None, share)["gpu_memory_utilization"] == 0.46
    whole = engine_options(ServingConfig(), ONE_H200, "base")
    assert "VLLM_RAY_PER_WORKER_GPUS" not in whole["ray_actor_options"]["runtime_env"]["env_vars"]
    assert "gpu_memory_utilization" not in engine_kwargs(ServingConfig(), ONE_H200, None)


def test_a_gateway_sheds_by_the_limits_of_the_hardware() -> None:
    assert max_requests(ServingConfig(), CPU) == 64 + 64, "as before"
    assert max_requests(ServingConfig(), ONE_H200) == 2 * 1024 + 2 * 1024
