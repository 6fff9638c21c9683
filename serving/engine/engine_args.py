"""Our settings in the words of vLLM: its engine arguments and its environment.

Pure: nothing here imports vLLM. The names of its arguments are read from its source, since importing it takes ten
seconds."""

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from serving.config import ServingConfig

GIB = 2**30
_SOURCES = {
    "engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
    "entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
}


@dataclass(frozen=True)
class Hardware:
    """What one replica of an engine may use."""

    num_gpus: int
    has_bf16: bool = True
    """Whether it has instructions for bfloat16."""

    @property
    def kind(self) -> str:
        return "gpu" if self.num_gpus else "cpu"


def engine_kwargs(config: ServingConfig, hardware: Hardware, model_limit: int | None) -> dict[str, Any]:
    """vLLM's engine arguments.

    `model_limit` is the longest sequence the model was made for, in tokens, where that is known.
    Raises TandemError where `engine_kwargs` contradicts what is computed here.
    """
    computed: dict[str, Any] = {
        "dtype": config.dtype,
        "max_model_len": min(config.max_model_len, model_limit or config.max_model_len),
        "max_num_seqs": config.max_num_seqs,
        "enable_lora": True,
        "max_loras": config.max_loras,
        "max_cpu_loras": max(config.max_loras, config.max_loaded_adapters),
        "max_lora_rank": config.max_lora_rank,
        "enable_prefix_caching": True,
        "enable_prompt_tokens_details": True,
        # With `auto` a grammar lets a small model write white space for ever.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if config.otlp_endpoint:
        computed["otlp_traces_endpoint"] = config.otlp_endpoint
    if hardware.kind == "cpu":
        # LoRA turns compilation off on a CPU, and eager starts faster.
        computed |= {
            "enforce_eager": True,
            "dtype": "float32" if config.dtype == "auto" and not hardware.has_bf16 else config.dtype,
            "kv_cache_memory_bytes": int(config.kv_cache_gib * GIB),
            "worker_extension_cls": "serving.engine.cpu_lora.GroupedLora",
        }
    return _merged(computed, config.engine_kwargs)


def engine_environment(config: ServingConfig, hardware: Hardware) -> dict[str, str]:
    """Environment of the engine's processes, set before they import anything."""
    environment = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if config.otlp_endpoint:
        environment |= {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "tandem-engine"}
    if hardware.kind == "cpu":
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    return environment


def num_devices(config: ServingConfig) -> int:
    """GPUs that one engine is spread over."""
    sizes = (config.engine_kwargs.get(key, 1) for key in ("tensor_parallel_size", "pipeline_parallel_size"))
    tensor, pipeline = (int(size) for size in sizes)
    return tensor * pipeline


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
