"""Which model a name means: a folder on disk, a package or a hub id, and the digest that identifies its weights."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_file, digest_json

if TYPE_CHECKING:
    pass


# What decides a model's answers: weights, shape, tokenizer, template. Not its card.
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt",
               "chat_template*", "*.safetensors", "*.bin")  # fmt: skip


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
    return digest_json([[file.name, digest_file(file)] for file in files])


def _hub_commit(model: str) -> str:
    """The commit that the hub's main branch, or the local cache, has for a model id."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=["config.json"])).name
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        raise TandemError(
            f"The model {model!r} is neither a folder nor reachable on the hub ({type(error).__name__}).",
            "A folder with a model, or a hub id such as Qwen/Qwen3-0.6B.",
            "Check the spelling of `model`, the network, and HF_TOKEN for a gated model.",
        ) from error


def find_folder(name: str) -> Path | None:
    """The folder of a model named by path or by package; None for a hub id."""
    if Path(name).is_dir():
        return Path(name).resolve()
    package = name.replace("-", "_")
    if not package.isidentifier() or (spec := find_spec(package)) is None:
        return None
    roots = [Path(root) for root in spec.submodule_search_locations or []]
    return next((file.parent.resolve() for root in roots for file in sorted(root.rglob("modules.json"))), None)


def is_offline() -> bool:
    """Whether the model hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
