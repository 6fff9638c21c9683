"""Our settings in the words of vLLM: its engine arguments and its environment.

Pure: nothing here imports vLLM. The names of its arguments are read from its source, since importing it takes ten
seconds."""

import ast
import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.hardware import Hardware, Node
from serving.config import ServingConfig
from serving.engine.limits import model_len_argument, request_limits
from serving.engine.parallel import check_parallel
from serving.engine.sharing import GpuShare, shared_limits

GIB = 2**30
CPU_CACHE_GIB = 1.0
_SOURCES = {
    "engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
    "entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
}
_REASONING_PARSERS = ("reasoning", "_REASONING_PARSERS_TO_REGISTER")
_TOOL_PARSERS = ("tool_parsers", "_TOOL_PARSERS_TO_REGISTER")


_ANY_CPU = Hardware((Node(1, 0),))
_ANY_GPU = Hardware((), max_gpus=1)


def engine_kwargs(
    config: ServingConfig,
    hardware: Hardware,
    model_limit: int | None,
    share: GpuShare | None = None,
    has_adapters: bool = True,
) -> dict[str, Any]:
    """vLLM's engine arguments.

    Args:
        model_limit: the longest sequence the model was made for, in tokens, where that is known.
        share: what the engine takes of a GPU; a whole one by default.
        has_adapters: whether adapters can be served to the model; `serving.adapters` may say no as well.

    Raises:
        TandemError: `engine_kwargs` contradicts what is computed here, or the hardware cannot run the settings.
    """
    check_parallel(config)
    share, has_adapters = share or GpuShare(), has_adapters and config.adapters
    computed: dict[str, Any] = {
        "dtype": _dtype(config, hardware, has_adapters),
        "max_model_len": model_len_argument(config, hardware, model_limit),
        "max_num_seqs": request_limits(config, hardware, share.gpus).max_num_seqs,
        "enable_lora": has_adapters,
        "enable_prefix_caching": True,
        "enable_prompt_tokens_details": True,
        # With `auto` a grammar lets a small model write white space for ever.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if has_adapters:
        computed |= {
            "max_loras": config.max_loras,
            "max_cpu_loras": max(config.max_loras, config.max_loaded_adapters),
            "max_lora_rank": config.max_lora_rank,
        }
    if config.otlp_endpoint:
        computed["otlp_traces_endpoint"] = config.otlp_endpoint
    if config.reasoning_parser:
        computed["reasoning_parser"] = config.reasoning_parser
    if config.tool_call_parser:
        computed |= {"tool_call_parser": config.tool_call_parser, "enable_auto_tool_choice": True}
    users = dict(config.engine_kwargs)
    if hardware.kind == "cpu":
        # LoRA turns compilation off on a CPU, and eager starts faster.
        computed |= {"enforce_eager": True, "kv_cache_memory_bytes": int((config.kv_cache_gib or CPU_CACHE_GIB) * GIB)}
        if has_adapters:
            computed["worker_extension_cls"] = "serving.engine.cpu_lora.GroupedLora"
    else:
        computed["worker_cls"] = "serving.engine.gpu_worker.Worker"
        if config.kv_cache_gib is not None:
            computed["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
        if share.utilization is not None:
            users.pop("gpu_memory_utilization", None)  # what all engines take together: the share is a part of it
            computed |= {"gpu_memory_utilization": share.utilization}
            computed |= {key: value for key, value in shared_limits(share).items() if key not in users}
    return _merged(computed, users)


def check_settings(config: ServingConfig, hardware: Hardware | None, has_adapters: bool = True) -> None:
    """Check `serving` against the hardware that will run it; None where it is not known yet.

    Args:
        has_adapters: whether vLLM can adapt a base model that is served.

    Raises:
        TandemError: as `engine_kwargs`, a name that vLLM does not know, or, where the hardware is not known, settings
            that neither a CPU nor a GPU can run.
    """
    check_engine_kwargs(config.engine_kwargs)
    _check_parser(
        config, "reasoning_parser", config.reasoning_parser, known_reasoning_parsers(), "reasoning_parser_plugin"
    )
    _check_parser(config, "tool_call_parser", config.tool_call_parser, known_tool_parsers(), "tool_parser_plugin")
    if hardware is not None:
        engine_kwargs(config, hardware, None, has_adapters=has_adapters)
        return
    try:
        engine_kwargs(config, _ANY_GPU, None, has_adapters=has_adapters)
    except TandemError:
        engine_kwargs(config, _ANY_CPU, None, has_adapters=has_adapters)


def _dtype(config: ServingConfig, hardware: Hardware, has_adapters: bool) -> str:
    """The precision of weights and activations. Raises TandemError where the hardware cannot run it."""
    if hardware.kind == "cpu":
        return "float32" if config.dtype == "auto" and not hardware.has_bf16 else config.dtype
    if config.dtype == "float32" and has_adapters:
        raise TandemError(
            "`serving.dtype` is float32, and vLLM's kernels for adapters on a GPU take 16-bit values only.",
            "auto, bfloat16 or float16; or float32 with `serving.adapters: false`.",
            "Change `serving.dtype`, or set `serving.adapters: false` to serve base models only.",
        )
    if config.dtype == "bfloat16" and not hardware.has_bf16:
        raise TandemError(
            "`serving.dtype` is bfloat16, and a GPU here does not compute in bfloat16 (its compute capability is below "
            "8.0).",
            "auto or float16.",
            "Change `serving.dtype`.",
        )
    return config.dtype


def engine_environment(config: ServingConfig, hardware: Hardware) -> dict[str, str]:
    """Environment of the engine's processes, set before they import anything."""
    environment = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if config.otlp_endpoint:
        environment |= {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "tandem-engine"}
    if hardware.kind == "cpu":
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    else:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return environment


def _merged(computed: dict[str, Any], users: dict[str, Any]) -> dict[str, Any]:
    for key in ("model", "served_model_name", "tokenizer"):
        if key in users:
            raise TandemError(
                f"serving.engine_kwargs sets {key}.",
                "Models are named in serving.models only.",
                f"Remove {key} from serving.engine_kwargs.",
            )
    for key, value in users.items():
        if key in computed and computed[key] != value:
            raise TandemError(
                f"serving.engine_kwargs sets {key} to {value!r}, and Tandem sets it to {computed[key]!r}.",
                "One of the two may set it.",
                f"Remove {key} from serving.engine_kwargs, or set the field of `serving` that it comes from.",
            )
    return computed | users


def check_engine_kwargs(names: Iterable[str]) -> None:
    """Raises TandemError for a name that the installed vLLM does not know; says nothing where none is installed."""
    known = known_engine_arguments()
    for name in names:
        if known and name not in known:
            close = difflib.get_close_matches(name, known, 3)
            raise TandemError(
                f"serving.engine_kwargs sets {name}, which vLLM does not know.",
                f"vLLM's engine arguments{', such as ' + ', '.join(close) if close else ''}.",
                "Correct the name, or remove it.",
            )


def _check_parser(config: ServingConfig, setting: str, name: str | None, known: frozenset[str], plugin: str) -> None:
    """Raises TandemError for a parser that the installed vLLM does not have, where no plugin brings it."""
    if name is None or not known or name in known or plugin in config.engine_kwargs:
        return
    raise TandemError(
        f"`serving.{setting}` is {name}, which the installed vLLM does not have.",
        f"One of {', '.join(sorted(known))}.",
        "Name the parser that the model's card names for vLLM, or remove the setting.",
    )


@cache
def known_reasoning_parsers() -> frozenset[str]:
    """Names of vLLM's reasoning parsers; empty where vLLM is not installed, or keeps them elsewhere."""
    return _keys_of_table(*_REASONING_PARSERS)


@cache
def known_tool_parsers() -> frozenset[str]:
    """Names of vLLM's parsers of tool calls; empty as `known_reasoning_parsers`."""
    return _keys_of_table(*_TOOL_PARSERS)


def _keys_of_table(package: str, name: str) -> frozenset[str]:
    spec = find_spec("vllm")
    file = Path(spec.origin).parent / package / "__init__.py" if spec and spec.origin else None
    if file is None or not file.is_file():
        return frozenset()
    tables = (
        node.value
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    )  # fmt: skip
    return frozenset(key.value for table in tables for key in table.keys
                     if isinstance(key, ast.Constant) and isinstance(key.value, str))  # fmt: skip


@cache
def known_engine_arguments() -> frozenset[str]:
    """Names of engine and front end arguments; empty where vLLM is not installed."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    root = Path(spec.origin).parent
    return frozenset(name for path, classes in _SOURCES.items() for name in _fields(root / path, classes))


def _fields(path: Path, classes: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id
