"""A sentence-transformers model that is loaded -> its ONNX export, compared with it before it is kept.

    reason = keep_export(model, description, key)

All modules of the model are exported together (transformer, pooling, dense layers, normalization), so no mode of
pooling is written again here. Whatever the export cannot do shows in the comparison, and the model is then embedded by
sentence-transformers as before: other number formats than float32, prompts left out of the pooling, tokenizers written
in Python, templates of a chat. `export.json` keeps the reason, so that it is not tried with every command.
"""

import json
import shutil
import time
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.embedding.onnx_model import (
    DESCRIPTION,
    MODEL,
    TOKENIZER,
    ExportedModel,
    ModelDescription,
    describe_export,
    export_folder,
    find_exported,
    read_export,
)

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 1e-5
"""Largest difference of a component of a unit vector."""
LONGEST_TOKENS = 512
"""Texts are compared up to this length. Longer ones are embedded by sentence-transformers."""
MAX_WEIGHTS_BYTES = 1_200_000_000
"""An export takes about three times as much memory, and a protobuf file ends at 2 GiB."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OPSET = 18
ABANDONED_S = 3600.0
"""After which an unfinished export was left by a process that was killed."""
PROBES = (
    "What is the symbol of Iron?",
    "a",
    " ",
    "Zürich, Café, naïve — “quoted” text…",
    "年假有几天? 有給休暇は何日ですか。",
    "ما هي عاصمة مصر؟ מה בירת ישראל?",
    "[CLS] [SEP] <s> </s> <pad> <unk> [MASK] <|endoftext|>",
    "🙂 𠮷 e\u0301 \u200b\u00a0\t\n\n  two  spaces",
    "x" * 300,
    "P-0417 costs 12.50 EUR; see ERR-1042, v2.3.1 and SAP_ORDER_ID." * 3,
    "The staff handbook says that leave is asked for in writing. " * 8,
)
PREFIX = "query: "


class NotExportable(Exception):
    """Why a model is embedded by sentence-transformers alone."""


def keep_export(model: Any, description: ModelDescription, key: str) -> str | None:
    """Export a SentenceTransformer on the CPU and keep it under `key`, unless that was done or tried before.

    Returns:
        Why it cannot be exported; None where it is kept.
    """
    if (known := read_export(key)) is not None and "reason" in known:
        return str(known["reason"])
    if find_exported(key) is not None:
        return None
    folder = export_folder(key)
    if folder is None:
        return "there is no folder for a cache"
    beside, aside = (folder.with_name(f".{key}.{uuid.uuid4().hex}") for _ in range(2))
    try:
        for abandoned in folder.parent.glob(".*"):
            if abandoned.stat().st_mtime < time.time() - ABANDONED_S:
                shutil.rmtree(abandoned, ignore_errors=True)
        beside.mkdir(mode=0o700, parents=True)
        try:
            reason, kept = None, _exported(model, description, beside)
        except NotExportable as refused:
            reason, kept = str(refused), {"reason": str(refused)}
            shutil.rmtree(beside)
            beside.mkdir(mode=0o700)
        (beside / DESCRIPTION).write_text(json.dumps(kept) + "\n")
        # A damaged one may lie there, and another command may keep the same one meanwhile.
        with suppress(OSError):
            folder.rename(aside)
        with suppress(OSError):
            beside.rename(folder)
    except (OSError, MemoryError) as error:
        return f"its export cannot be written: {getattr(error, 'strerror', None) or error or 'no memory is left'}"
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    return reason


def _exported(model: Any, description: ModelDescription, folder: Path) -> dict[str, Any]:
    """Write the files of an export and compare it. Raises NotExportable."""
    import torch

    size = sum(each.numel() * each.element_size() for each in model.parameters())
    if size > MAX_WEIGHTS_BYTES:
        raise NotExportable(f"its weights take {size / 1e9:.1f} GB, and at most {MAX_WEIGHTS_BYTES / 1e9:.1f} do")
    if {each.dtype for each in model.parameters()} != {torch.float32}:
        raise NotExportable("its weights are not in float32")
    try:
        names, example = _inputs(model)
        _write_graph(model, names, example, folder / MODEL)
    except (NotExportable, OSError, MemoryError):
        raise
    except Exception as error:  # a model's own code is traced, and may raise whatever it likes
        raise NotExportable(f"it cannot be traced: {_first_line(error)}") from error
    (folder / TOKENIZER).write_text(model.tokenizer.backend_tokenizer.to_str())
    try:
        exported = ExportedModel(folder, describe_export(description, LONGEST_TOKENS, folder))
        compared = _compare(model, exported)
    except (NotExportable, OSError, MemoryError):
        raise
    except Exception as error:  # onnxruntime's errors have no common class
        raise NotExportable(f"its export cannot be run: {_first_line(error)}") from error
    return describe_export(description, compared, folder)


def _inputs(model: Any) -> tuple[list[str], list[Any]]:
    """The names of what the model reads, and an example with padding. The tokenizer then cuts and pads as it does for
    sentence-transformers."""
    import torch

    if getattr(model.tokenizer, "backend_tokenizer", None) is None:
        raise NotExportable("its tokenizer is written in Python")
    features, others = (
        model.preprocess([PROBES[0], PROBES[-1]], prompt="", task=task) for task in ("query", "document")
    )
    tensors = {name: value for name, value in features.items() if isinstance(value, torch.Tensor)}
    if any(not torch.equal(value, others[name]) for name, value in tensors.items()):
        raise NotExportable("it reads questions and documents in different ways")
    if features.get("modality", "text") != "text" or not {"input_ids", "attention_mask"} <= set(tensors) <= set(INPUTS):
        raise NotExportable(f"it reads {', '.join(sorted(tensors))} of a {features.get('modality', 'text')}")
    names = [name for name in INPUTS if name in tensors]
    return names, [tensors[name] for name in names]


def _write_graph(model: Any, names: list[str], example: list[Any], path: Path) -> None:
    import torch

    class WholeModel(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            features = dict(zip(names, values, strict=True)) | {"modality": "text"}
            vectors = self.model(features)["sentence_embedding"]
            return vectors if model.truncate_dim is None else vectors[..., : model.truncate_dim]

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            WholeModel().eval(), tuple(example), str(path), input_names=names, output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names} | {"vectors": {0: "texts"}},
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def _compare(model: Any, exported: ExportedModel) -> int:
    """Compare texts alone and padded in a batch, with a prompt and without, cut and whole.

    Returns:
        The tokens of the longest text that was compared: that of the longest one that the model reads, or nearly
        LONGEST_TOKENS.

    Raises:
        NotExportable: a vector differs.
    """
    cut, whole, half = ("iron " * number for number in (LONGEST_TOKENS, LONGEST_TOKENS - 16, LONGEST_TOKENS // 2))
    alone = [([text], "", "query") for text in (*PROBES, cut, whole)]
    compared = 0
    batches = [(list(PROBES[:7]), PREFIX, "query"), (["a", half], "", "query"), ([PROBES[0]], "", "document")]
    for batch, prefix, task in [*alone, *batches]:
        if (length := exported.num_read(batch, prefix)) > LONGEST_TOKENS:
            continue
        compared = max(compared, length)
        expected = model.encode(
            batch, prompt=prefix, task=task, batch_size=len(batch), normalize_embeddings=True, show_progress_bar=False
        )
        difference = _difference(expected, exported.encode(batch, prefix))
        if not difference <= TOLERANCE:
            raise NotExportable(f"its export gives other vectors (up to {difference:.1g}, at most {TOLERANCE:g})")
    return compared


def _difference(expected: "np.ndarray[Any, Any]", found: "np.ndarray[Any, Any] | None") -> float:
    if found is None or expected.shape != found.shape:
        return float("inf")
    return float(abs(expected - found).max())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0][:200]}"
