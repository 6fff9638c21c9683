"""Names and signatures of our vendors that may change with any version, each where its vendor defines it.

A name that begins with an underscore, a module that is private, a method that a class of ours overrides, an argument
that no documentation promises: all that our code takes from a vendor beyond its public interface. A new version of a
vendor fails here, in one place, and not in a training that ran for a day.

Names are read from the vendor's source: nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("cluster", "training", "retrieval", "serving", "evaluation", "tandem")

# file -> dotted names in it; a function with the parameters that we pass, or that an override of ours takes by name.
# `Class.name` is a method, a field, or what a method sets on `self`.
NAMES: dict[str, tuple[str, ...]] = {
    "ray/_private/state.py": ("state", "GlobalState.get_max_resources_from_cluster_config"),
    "ray/_private/worker.py": ("print_to_stdstream(data, ignore_prefix)", "init._metrics_export_port"),
    "ray/experimental/internal_kv.py": (
        "_internal_kv_put(key, value, namespace)", "_internal_kv_get(key, namespace)",
    ),
    "ray/_private/runtime_env/constants.py": ("RAY_JOB_CONFIG_JSON_ENV_VAR",),
    "ray/autoscaler/_private/kuberay/node_provider.py": ("KubernetesHttpApiClient.get(path)",),
    "ray/autoscaler/_private/kuberay/autoscaling_config.py": ("_derive_autoscaling_config_from_ray_cr(ray_cr)",),
    "ray/serve/handle.py": ("DeploymentHandle.options(_by_reference)",),
    "ray/serve/_private/constants.py": ("SERVE_CONTROLLER_NAME", "SERVE_NAMESPACE"),
    "ray/serve/_private/request_router/request_router.py": (
        "RequestRouter.choose_replicas(candidate_replicas, pending_request)",
        "RequestRouter.__init__._replica_queue_len_cache",
    ),
    "ray/llm/_internal/common/callbacks/base.py": (
        "CallbackBase.on_before_node_init", "CallbackBase.__init__.ctx", "CallbackCtx.run_init_node",
    ),
    "ray/llm/_internal/common/errors.py": ("VLLM_CLIENT_ERRORS", "VLLM_FATAL_ERRORS"),
    "ray/llm/_internal/serve/core/protocol.py": ("RawRequestInfo.headers",),
    "ray/llm/_internal/serve/core/configs/llm_config.py": (
        "DiskMultiplexConfig.model_id", "DiskMultiplexConfig.max_total_tokens", "DiskMultiplexConfig.local_path",
        "DiskMultiplexConfig.lora_assigned_int_id", "LLMConfig.multiplex_config", "LLMConfig.accelerator_config",
        "LLMConfig.callback_config", "LLMConfig.experimental_configs", "LLMConfig.log_engine_metrics",
    ),
    "ray/llm/_internal/serve/core/configs/openai_api_models.py": (
        "DetokenizeRequest", "ErrorResponse", "TokenizeChatRequest", "TokenizeCompletionRequest",
    ),
    "ray/llm/_internal/serve/core/server/llm_server.py": (
        "LLMServer.sync_init(llm_config, engine_cls)", "LLMServer.start", "LLMServer._start_engine",
        "LLMServer._init_multiplex_loader(model_downloader_cls)", "LLMServer._init_multiplex_loader._load_model",
        "LLMServer._init_shared._llm_config",
    ),
    "ray/llm/_internal/serve/engines/vllm/vllm_engine.py": (
        "VLLMEngine.start", "VLLMEngine.resolve_lora(disk_lora_model)", "VLLMEngine.start._engine_client",
        "VLLMEngine.start._oai_models", "VLLMEngine.start._app_state", "VLLMEngine.start._oai_serving_tokenization",
        "VLLMEngine._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)",
    ),
    "vllm/v1/engine/async_llm.py": (
        "AsyncLLM.list_loras", "AsyncLLM.remove_lora(lora_id)", "AsyncLLM.get_tokenizer", "AsyncLLM.shutdown",
        "AsyncLLM.__init__.output_processor",
    ),
    "vllm/v1/engine/output_processor.py": ("OutputProcessor.get_num_unfinished_requests",),
    "vllm/entrypoints/openai/models/serving.py": ("OpenAIServingModels.__init__.lora_requests",),
    "vllm/entrypoints/launchers/api_server/app_state.py": ("init_app_state.serving_tokenization",),
    "vllm/engine/arg_utils.py": (
        "EngineArgs.enable_lora", "EngineArgs.max_loras", "EngineArgs.max_cpu_loras", "EngineArgs.max_lora_rank",
        "EngineArgs.max_num_seqs", "EngineArgs.enable_prefix_caching", "EngineArgs.structured_outputs_config",
        "EngineArgs.worker_cls",
        "EngineArgs.worker_extension_cls", "EngineArgs.kv_cache_memory_bytes", "EngineArgs.gpu_memory_utilization",
        "EngineArgs.otlp_traces_endpoint", "AsyncEngineArgs",
    ),
    "vllm/entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
    "vllm/config/parallel.py": ("ParallelConfig.distributed_executor_backend", "ParallelConfig.world_size"),
    "vllm/platforms/cpu.py": ("CpuPlatform.get_punica_wrapper",),
    "vllm/lora/punica_wrapper/punica_base.py": (
        "PunicaWrapperBase.update_metadata(mapping, lora_index_to_id, max_loras, vocab_size)",
        "PunicaWrapperBase.token_lora_indices", "PunicaWrapperBase.sampler_indices",
    ),
    "vllm/lora/punica_wrapper/punica_cpu.py": (
        "PunicaWrapperCPU.add_lora_linear(y, x, lora_a_stacked, lora_b_stacked, scale, output_slices)",
        "PunicaWrapperCPU.add_lora_embedding(y, x, lora_b_stacked, add_inputs)",
        "PunicaWrapperCPU.add_lora_logits(y, x, lora_a_stacked, lora_b_stacked, scale)",
    ),
    # What runs on a GPU only, read for this version: the engine that the acceptance run expects.
    # The worker keeps what its process has; its class is imported before an extension of it.
    "vllm/v1/executor/ray_executor_v2.py": ("RayWorkerProc.initialize_worker(driver_env_vars)",),
    "vllm/v1/executor/ray_env_utils.py": ("get_driver_env_vars",),
    "vllm/v1/worker/worker_base.py": ("WorkerWrapperBase.init_worker.worker_class",),
    "vllm/v1/worker/gpu_worker.py": ("Worker.__init__.use_v2_model_runner",),
    "vllm/v1/worker/gpu/warmup.py": ("warmup_kernels",),
    "vllm/v1/sample/ops/topk_topp_sampler.py": ("flashinfer_sample",),
    "deepspeed/ops/__init__.py": ("__getattr__.__compatible_ops__",),
    "deepspeed/__init__.py": ("initialize(model, model_parameters, config, lr_scheduler)",),
    "deepspeed/runtime/engine.py": (
        "DeepSpeedEngine.save_checkpoint(save_dir, tag, client_state, exclude_frozen_parameters)",
        "DeepSpeedEngine.load_checkpoint(load_dir, tag, load_module_strict)", "DeepSpeedEngine.get_global_grad_norm",
        "DeepSpeedEngine.zero_optimization_stage", "DeepSpeedEngine.get_lr",
        "DeepSpeedEngine.clip_fp32_gradients", "DeepSpeedEngine.gradient_clipping",
    ),
    "deepspeed/runtime/utils.py": ("clip_grad_norm_(parameters, max_norm, mpu)",),
    "deepspeed/runtime/zero/partition_parameters.py": (
        "GatheredParameters.__init__(params, modifier_rank)", "Init._convert_to_deepspeed_param.ds_numel",
    ),
    "deepspeed/checkpoint/ds_to_universal.py": ("main(args)",),
    "deepspeed/ops/op_builder/async_io.py": ("AsyncIOBuilder.is_compatible(verbose)",),
    "transformers/integrations/deepspeed.py": ("HfDeepSpeedConfig", "unset_hf_deepspeed_config"),
    "transformers/modeling_utils.py": (
        "PreTrainedModel._init_weights(module)", "AttentionInterface", "PreTrainedModel._supports_sdpa",
        "PreTrainedModel._can_set_attn_implementation",
    ),
    "transformers/models/auto/modeling_auto.py": ("AutoModelForCausalLM._model_mapping",),
    "transformers/configuration_utils.py": ("PreTrainedConfig._attn_implementation",),
    "transformers/utils/hub.py": ("cached_file(path_or_repo_id, filename)",
                                  "cached_files(_raise_exceptions_for_missing_entries)"),
    "peft/mapping_func.py": ("get_peft_model(model, peft_config, autocast_adapter_dtype)",),
    "peft/peft_model.py": (
        "PeftModel.from_pretrained(model, model_id, autocast_adapter_dtype)",
        "PeftModel.save_pretrained(save_directory, save_embedding_layers)", "PeftModel.disable_adapter",
    ),
    "peft/utils/transformers_weight_conversion.py": (
        "_MODEL_TO_CONVERSION_PATTERN", "_MOE_TARGET_MODULE_MAPPING",
    ),
    "peft/tuners/tuners_utils.py": ("BaseTunerLayer.merge(safe_merge)",),
    "liger_kernel/transformers/__init__.py": ("_apply_liger_kernel_to_instance",),
    "torch/nn/modules/module.py": ("Module._modules",),
    "torch/nn/attention/varlen.py": (
        "varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size, enable_gqa)",
    ),
    "pymilvus/milvus_client/milvus_client.py": ("MilvusClient._get_connection",),
}  # fmt: skip

# environment variable -> the vendor's file that reads it
VARIABLES: dict[str, str] = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "ray/_private/accelerators/accelerator.py",
    "RAY_ADDRESS": "ray/_private/ray_constants.py",
    "RAY_AIR_NEW_OUTPUT": "ray/tune/tune.py",
    "RAY_API_SERVER_ADDRESS": "ray/_private/ray_constants.py",
    "RAY_AUTH_MODE": "ray/_private/authentication/authentication_token_setup.py",
    "RAY_AUTH_TOKEN": "ray/exceptions.py",
    "RAY_AUTH_TOKEN_PATH": "ray/exceptions.py",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "ray/_private/runtime_env/constants.py",
    "RAY_JOB_STOP_WAIT_TIME_S": "ray/dashboard/modules/job/job_supervisor.py",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "ray/serve/_private/constants.py",
    "RAY_SERVE_LOG_TO_STDERR": "ray/serve/_private/constants.py",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "ray/serve/_private/constants.py",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "ray/serve/_private/constants.py",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "ray/serve/_private/constants.py",
    "RAY_TMPDIR": "ray/_common/utils.py",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "ray/train/v2/_internal/constants.py",
    "RAY_USAGE_STATS_ENABLED": "ray/_common/usage/usage_constants.py",
    "VLLM_CACHE_ROOT": "vllm/envs.py",
    "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY": "vllm/envs.py",
    "VLLM_RAY_PER_WORKER_GPUS": "vllm/envs.py",
    "VLLM_USE_FLASHINFER_SAMPLER": "vllm/envs.py",
    "CUDA_HOME": "torch/utils/cpp_extension.py",
    "CUDA_DEVICE_ORDER": "vllm/platforms/cuda.py",
    "CUDA_PATH": "torch/utils/cpp_extension.py",
    "TORCHINDUCTOR_CACHE_DIR": "torch/_inductor/runtime/cache_dir_utils.py",
    "TORCH_EXTENSIONS_DIR": "torch/utils/cpp_extension.py",
    "TORCH_CUDA_ARCH_LIST": "torch/utils/cpp_extension.py",
    "PYTORCH_ALLOC_CONF": "torch/cuda/memory.py",
    "PYTORCH_CUDA_ALLOC_CONF": "torch/utils/collect_env.py",
    "PYTORCH_HIP_ALLOC_CONF": "torch/utils/collect_env.py",
    "TRITON_CACHE_DIR": "triton/knobs.py",
    "FLASHINFER_CUDA_ARCH_LIST": "flashinfer/compilation_context.py",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer/jit/env.py",
    "VLLM_CPU_OMP_THREADS_BIND": "vllm/envs.py",
    "VLLM_LOGGING_LEVEL": "vllm/envs.py",
    "VLLM_NO_USAGE_STATS": "vllm/envs.py",
    "DS_ACCELERATOR": "deepspeed/accelerator/real_accelerator.py",
    "HF_HOME": "huggingface_hub/constants.py",
    "HF_HUB_CACHE": "huggingface_hub/constants.py",
    "HF_HUB_OFFLINE": "huggingface_hub/constants.py",
    "HF_TOKEN": "huggingface_hub/utils/_auth.py",
    "HF_HUB_DISABLE_PROGRESS_BARS": "huggingface_hub/constants.py",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "vllm/tracing/otel.py",
    "OTEL_SERVICE_NAME": "opentelemetry/sdk/environment_variables/__init__.py",
}
OF_NO_PYTHON_SOURCE = {
    "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS", "NCCL_SOCKET_IFNAME",
    "RAY_CLUSTER_NAME", "RAY_CLUSTER_NAMESPACE",
}  # fmt: skip
"""Variables of a compiled library, and those that KubeRay gives to its pods."""

GPU_ONLY = {"liger_kernel", "triton", "flashinfer"}
"""Packages of the GPU lock that are not installed beside a CPU build."""

PREFIXES = ("VLLM_", "RAY_", "NCCL_", "TORCH", "PYTORCH_", "TRITON_", "FLASHINFER_", "DS_", "HF_", "CUDA_", "OTEL_")


@dataclass(frozen=True)
class PrivateUse:
    """A private name of a vendor in our code."""

    path: str
    line: int
    name: str


def uses() -> list[PrivateUse]:
    """Every attribute and import of our packages that begins with an underscore, and that our code does not define."""
    trees = {path: ast.parse(path.read_text()) for path in _own_files()}
    ours = {name for tree in trees.values() for name in _defined(tree)}
    return [
        PrivateUse(path.relative_to(ROOT).as_posix(), line, name)
        for path, tree in trees.items()
        for line, name in _private(tree)
        if name not in ours
    ]


def variables() -> dict[str, str]:
    """Every environment variable of a vendor that our code names as a string of its own, with a file that does."""
    found = {}
    for path in _own_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and _is_variable(node.value):
                found[str(node.value)] = path.relative_to(ROOT).as_posix()
    return found


def is_installed(file: str) -> bool:
    """Whether the package of a file is; find_spec imports nothing of a package at the top level."""
    return find_spec(file.split("/")[0]) is not None


def source_of(file: str) -> Path:
    """A vendor's file."""
    package, _, rest = file.partition("/")
    spec = find_spec(package)
    assert spec is not None
    folders = spec.submodule_search_locations or []
    return next(path for folder in folders if (path := Path(folder, rest)).exists() or folder == folders[-1])


def missing(file: str, named: str) -> str | None:
    """What of `Class.name(parameters)` the file does not define; None where all of it is there."""
    name, _, parameters = named.rstrip(")").partition("(")
    nodes: list[ast.AST] = [_parsed(source_of(file))]
    for part in name.split("."):
        nodes = [found for node in nodes for found in _find(node, part)]
        if not nodes:
            return f"{part} of {name}"
    wanted = {each.strip() for each in parameters.split(",") if each.strip()}
    known = {argument for node in nodes for argument in _parameters(node)}
    return f"the parameters {', '.join(sorted(wanted - known))} of {name}" if wanted - known else None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _own_files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _find(node: ast.AST, name: str) -> Iterator[ast.AST]:
    """Where a name is defined in a module or class, imported there, or set in a function."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        inside: Iterator[ast.AST] = ast.walk(node)
    else:
        inside = _statements(node)
    for each in inside:
        match each:
            case ast.ClassDef(name=found) | ast.FunctionDef(name=found) | ast.AsyncFunctionDef(name=found):
                if found == name and each is not node:
                    yield each
            case ast.ImportFrom() | ast.Import():
                if any((alias.asname or alias.name) == name for alias in each.names):
                    yield each
            case ast.Assign() | ast.AnnAssign():
                targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                if any(name in _target_names(target) for target in targets):
                    yield each
            case ast.Constant(value=found) if found == name:
                yield each


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements of a module or class, those under a condition or a try as well."""
    for each in ast.iter_child_nodes(node):
        yield each
        if isinstance(each, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _statements(each)


def _target_names(target: ast.AST) -> set[str]:
    names = {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}
    return names | {each.attr for each in ast.walk(target) if isinstance(each, ast.Attribute)}


def _parameters(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    arguments = node.args
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


def _private(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.lineno, node.attr
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = any(map(_is_private, node.module.split(".")))
            yield from ((node.lineno, alias.name) for alias in node.names if inside or _is_private(alias.name))
        if isinstance(node, ast.keyword) and node.arg and _is_private(node.arg):
            yield node.value.lineno, node.arg


def _is_variable(value: object) -> bool:
    return (
        isinstance(value, str)
        and value.startswith(PREFIXES)
        and re.fullmatch("[A-Z][A-Z0-9_]*[A-Z0-9]", value) is not None
    )


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
