"""Whether a base model is there: a folder with all its parts, or a hub that has it, or its copy in the cache."""

import json
import os
import struct
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.fingerprints.models import find_model
from cluster.preflight.finding import Finding

INDEX = "model.safetensors.index.json"
ASK_S = 20.0
DOWNLOAD_REMEDY = "Copy the whole model again (`hf download ...`), or set `model` to another folder or a hub id."


def check_base_model(model: str) -> Iterator[Finding]:
    """`model` is an absolute folder or a hub id. Raises TandemError where the folder holds no model."""
    folder = find_model(model)
    yield _of_folder(folder) if folder else _of_hub(model)


def _of_folder(folder: Path) -> Finding:
    lacking = list(_lacking(folder))
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    if lacking:
        return Finding("model", "failed", f"{folder}: {'; '.join(lacking)}", DOWNLOAD_REMEDY)
    weights = sum(size for name, size in files.items() if name.endswith((".safetensors", ".bin")))
    return Finding("model", "ok", f"{folder}: complete, {weights / 2**20:.0f} MiB of weights", values={"files": files})


def _lacking(folder: Path) -> Iterator[str]:
    """What is missing or cut off."""
    try:
        json.loads((folder / "config.json").read_text())
    except ValueError:
        yield "config.json is no JSON"
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        yield "there is no tokenizer"
    if (folder / INDEX).is_file():
        named = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
        yield from (f"{name} is missing" for name in sorted(named) if not (folder / name).is_file())
    for file in sorted(folder.glob("*.safetensors")):
        if (expected := _whole_size(file)) != file.stat().st_size:
            yield f"{file.name} has {file.stat().st_size} bytes instead of {expected}"


def _whole_size(file: Path) -> int | None:
    """The size in bytes that a safetensors file says it has: 8, its header, the tensors. None: it says nothing."""
    with file.open("rb") as opened:
        first = opened.read(8)
        if len(first) < 8:
            return None
        (length,) = struct.unpack("<Q", first)
        if length > file.stat().st_size:
            return None
        try:
            header: dict[str, Any] = json.loads(opened.read(length))
        except ValueError:
            return None
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return 8 + int(length) + max(ends, default=0)


def _of_hub(model: str) -> Finding:
    """Asks the hub, or the cache where nothing is to be asked or nobody answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    reason = "the hub is not asked (HF_HUB_OFFLINE)"
    if not constants.HF_HUB_OFFLINE:
        url = f"{constants.ENDPOINT}/api/models/{urllib.parse.quote(model)}"
        request = urllib.request.Request(url, headers=build_hf_headers())
        try:
            with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                sha = str(json.load(answer).get("sha"))
            return Finding("model", "ok", f"{model}: the hub has it, commit {sha[:8]}", values={"sha": sha})
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(os.linesep)[0][:150]}"
    if cached := _cached(model):
        return Finding("model", "ok", f"{model}: in the cache at {cached}; {reason}")
    return Finding(
        "model", "failed", f"{model} is neither on the hub nor in the cache: {reason}",
        "Check the spelling of `model`, the network and proxy, and HF_TOKEN for a gated model; or download it "
        "elsewhere and set `model` to the folder.",
    )  # fmt: skip


def _cached(model: str) -> Path | None:
    """The folder of a whole copy; None where there is none, or a part only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    whole = (folder / "config.json").is_file() and (any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")))
    return folder if whole and not list(_lacking(folder)) else None
