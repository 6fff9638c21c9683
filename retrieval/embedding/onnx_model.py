"""An embedding model as ONNX, which embeds a question without loading torch or sentence-transformers.

    model = find_exported(key)
    vectors = model.encode(["What is the symbol of Iron?"], prefix="")

    $TANDEM_CACHE/embedding/<key>/      model.onnx, tokenizer.json and export.json, written by `onnx_export`

What sentence-transformers would have computed is kept to 1e-5 of a unit vector: the export was compared with it before
it was kept, up to `verified_tokens`. A longer text is refused here. A folder of another user is not used.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.kept_digests import cache_root, digest_large_file

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
"""Of the files of an export; another one is another key."""
VERSIONS = ("sentence-transformers", "transformers", "torch", "tokenizers", "onnxruntime")
"""Packages that can change what a model gives for a text."""
MODEL, TOKENIZER, DESCRIPTION = "model.onnx", "tokenizer.json", "export.json"


@dataclass(frozen=True)
class ModelDescription:
    """What an embedder asks of a model beside its vectors."""

    dimensions: int
    max_seq_length: int | None
    """The longest text in tokens, special ones included; longer ones are cut. None where the model does not say."""
    prompts: dict[str, str]
    default_prompt_name: str | None = None


def export_key(identity: str) -> str:
    """The name of the folder of a model's export: the model, and what computes it."""
    return digest_json([FORMAT, identity, {name: _version(name) for name in VERSIONS}])


def export_folder(key: str) -> Path | None:
    """Where a model's export is kept; None for a user without a home."""
    try:
        return cache_root() / "embedding" / key
    except RuntimeError:
        return None


def find_exported(key: str, num_threads: int | None = None) -> "ExportedModel | None":
    """The export that is kept under a key; None where there is none, or it cannot be used."""
    kept = read_export(key)
    if kept is None or "reason" in kept:
        return None
    folder = export_folder(key)
    assert folder is not None
    try:
        if _digests(folder) != kept["sha256"]:
            return None
        return ExportedModel(folder, kept, num_threads)
    except Exception:  # noqa: BLE001  # onnxruntime's errors have no common class, and the model itself is there
        return None


def read_export(key: str) -> dict[str, Any] | None:
    """What `export.json` says: the description of the model, or the `reason` why it was not exported."""
    folder = export_folder(key)
    try:
        if folder is None or folder.stat().st_uid != os.getuid():
            return None
        kept = json.loads((folder / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


class ExportedModel:
    """Vectors and tokens of one exported model. Thread-safe: neither the session nor the tokenizer is changed.

    Args:
        kept: the content of `export.json`.
        num_threads: threads for one batch; None takes one for each core that this process may use.
    """

    def __init__(self, folder: Path, kept: dict[str, Any], num_threads: int | None = None) -> None:
        # Before the runtime, so that its absence is an ImportError of this call.
        import onnxruntime
        from tokenizers import Tokenizer

        self.description = ModelDescription(**kept["description"])
        self.verified_tokens = int(kept["verified_tokens"])
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.inter_op_num_threads = 1
        # Left to itself it binds threads to cores, also to those that this process may not use.
        options.intra_op_num_threads = num_threads or _num_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(folder / MODEL, options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]

    def encode(self, texts: Sequence[str], prefix: str) -> "np.ndarray[Any, Any] | None":
        """Unit vectors `[len(texts), dimensions]` in float32, as one batch; None where a text is longer than the export
        was compared for, or it cannot be run."""
        import numpy as np

        encodings = self._tokenizer.encode_batch([prefix + text for text in texts])
        if max(len(encoding) for encoding in encodings) > self.verified_tokens:
            return None
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        inputs = {
            name: np.array([getattr(encoding, columns[name]) for encoding in encodings], dtype=np.int64)
            for name in self._inputs
        }
        try:
            [vectors] = self._session.run(None, inputs)
        except Exception:  # noqa: BLE001  # as above: such as no memory
            return None
        unit: np.ndarray[Any, Any] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return unit

    def num_read(self, texts: Sequence[str], prefix: str) -> int:
        """Tokens of the longest of these texts, after it was cut to what the model reads."""
        return max(len(encoding) for encoding in self._tokenizer.encode_batch([prefix + text for text in texts]))

    @cached_property
    def counter(self) -> Any:
        """A copy of the tokenizer that never cuts and never pads."""
        counter = type(self._tokenizer).from_str(self._tokenizer.to_str())
        counter.no_truncation()
        counter.no_padding()
        return counter


def describe_export(description: ModelDescription, verified_tokens: int, folder: Path) -> dict[str, Any]:
    """The content of `export.json` for a model that can be used; the other files are in `folder`."""
    return {"description": asdict(description), "verified_tokens": verified_tokens, "sha256": _digests(folder)}


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest_large_file(folder / name) for name in (MODEL, TOKENIZER)}


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
