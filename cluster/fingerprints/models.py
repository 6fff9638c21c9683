"""Which model a name means: a folder on disk, a package or a hub id, and the digest that identifies its weights."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.kept_digests import digest_large_file

READERS = 4
"""Files of a model that are read side by side: SHA-256 in one thread is slower than a fast disk."""

# What decides a model's answers: weights, shape, tokenizer, template. Not its card.
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt",
               "chat_template*", "*.safetensors", "*.bin")  # fmt: skip


# Where exports say how they are quantized that do not say it in config.json: ModelOpt, AutoGPTQ, AutoAWQ, INC.
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json", "quantization_config.json")


def find_model(model: str) -> Path | None:
    """The folder of a model, or None where `model` is a hub id.

    Raises:
        TandemError: the folder is missing or holds no model.
    """
    folder = Path(model)
    if not folder.is_absolute():
        return None
    what = _lacking(folder)
    if what:
        raise TandemError(
            f"The model folder {folder} {what}.",
            "A folder with config.json, safetensors weights and a tokenizer, or a hub id such as Qwen/Qwen3-0.6B.",
            "Set `model` in the project file.",
        )
    return folder


def _lacking(folder: Path) -> str | None:
    if not folder.is_dir():
        return "does not exist"
    if not (folder / "config.json").is_file():
        return "holds no config.json"
    if not any(file for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern)):
        return "holds no weights"
    return None


def digest_model(model: str) -> str:
    """The digest of a model: of the deciding files in its folder, or of the hub id and the commit it stands for.

    Raises:
        TandemError: the folder holds no model, or the hub and its local cache do not have the id.
    """
    folder = find_model(model)
    if folder is None:
        return digest_json({"hub": model, "commit": _hub_commit(model)})
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()})
    with ThreadPoolExecutor(READERS) as threads:
        digests = list(threads.map(digest_large_file, files))
    return digest_json([[file.name, digest] for file, digest in zip(files, digests, strict=True)])


def read_quantization(model: str) -> str | None:
    """How a model's weights are quantized, as its files say (`fp8`, `awq`, `mxfp4`, ...); None where they are not.

    Transformers and vLLM take the method from `quantization_config` in config.json, of a model with several parts from
    that of its language part, and compressed-tensors from `compression_config`. Older exports have a file of their own.

    Raises:
        TandemError: as `digest_model`.
    """
    folder = find_model(model) or _hub_folder(model)
    config = _read_json(folder / "config.json")
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        for key in ("quantization_config", "compression_config"):
            if settings := part.get(key):
                return _quantization_method(settings)
    for name in QUANTIZATION_FILES:
        if (folder / name).is_file():
            return _quantization_method(_read_json(folder / name))
    return None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TandemError(
            f"{file} is no JSON object.",
            "The file as the model's makers wrote it.",
            "Copy or download the model again.",
        )
    return value


def _quantization_method(settings: Any) -> str:
    """The method's name, where the settings have one."""
    if not isinstance(settings, dict):
        return "by a method that is not named"
    nested = settings.get("quantization")  # NVIDIA's hf_quant_config.json
    named = nested if isinstance(nested, dict) else settings
    method = named.get("quant_method") or named.get("quant_algo")
    if not method and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        method = "bitsandbytes"
    return str(method or "by a method that is not named").lower()


def _hub_folder(model: str) -> Path:
    """Where the hub's cache keeps a model's config.json, which is fetched where it is not there yet."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=["config.json", *QUANTIZATION_FILES]))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        raise TandemError(
            f"The model {model!r} is neither a folder nor reachable on the hub ({type(error).__name__}).",
            "A folder with a model, or a hub id such as Qwen/Qwen3-0.6B.",
            "Check the spelling of `model`, the network, and HF_TOKEN for a gated model.",
        ) from error


def _hub_commit(model: str) -> str:
    """The commit that the hub's main branch, or the local cache, has for a model id."""
    return _hub_folder(model).name


def find_folder(name: str) -> Path | None:
    """The folder of a model named by path or by package; None for a hub id."""
    if Path(name).is_dir():
        return Path(name).resolve()
    package = name.replace("-", "_")
    if not package.isidentifier() or (spec := find_spec(package)) is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or []]
    return next((file.parent.resolve() for root in roots for file in sorted(root.rglob("modules.json"))), None)


def find_cached_commit(model: str) -> str | None:
    """`<hub id>@<commit>` of a model in the hub's cache on this machine, without asking the hub; None without one."""
    id = model if "/" in model else f"sentence-transformers/{model}"  # as sentence-transformers reads such a name
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = Path(os.environ.get("SENTENCE_TRANSFORMERS_HOME") or os.environ.get("HF_HUB_CACHE") or home / "hub")
    try:
        reference = cache.expanduser() / f"models--{id.replace('/', '--')}" / "refs" / "main"
        return f"{id}@{reference.read_text().strip()}"
    except (OSError, RuntimeError, ValueError):
        return None


def is_offline() -> bool:
    """Whether the model hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
