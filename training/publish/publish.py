"""A trained adapter becomes a version in the registry: what it was trained on, from what, and with what."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cluster.fingerprints.digests import digest_json, digest_question
from cluster.fingerprints.minhash import NUM_PERMUTATIONS, digest_answer, digest_words, question_minhash
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.storage import Storage
from training.config import FORMER_NAMES, AutoWorkers, TrainingConfig
from training.data.duplicates import row_minhash
from training.data.formats.plain_text import find_questions
from training.data.rows import TrainingRow
from training.data.sources import digest_source

# Settings that say where things are or how failures are handled, and do not change the result.
_SETTINGS_WITHOUT_EFFECT = {
    "data", "held_out_data", "adapter", "max_failures", "checkpoint_steps", "checkpoint_upload", "keep_checkpoints",
    "parity_tolerance", "mlflow", "wandb", "trackio", "ray_options",
}  # fmt: skip
# Settings that came later: at their default a training is what it was before, and keeps its digest.
_SETTINGS_ADDED = (
    "gradient_precision", "control_tokens", "consecutive_turns", "chat_template_kwargs", "kto_beta",
    "kto_desirable_weight", "kto_undesirable_weight",
)  # fmt: skip
_PACKAGES = ("torch", "transformers", "peft", "deepspeed")
_FINGERPRINT_FORMAT = 2
NO_TEMPLATE = hashlib.sha256(b"").hexdigest()
"""The `template_hash` of a tokenizer without a chat template."""


def fingerprint(
    config: TrainingConfig, model: str, base_digest: str, workers: str | None = None, data: str | None = None
) -> str:
    """A digest of everything that decides the adapter: rows, settings, base weights and the packages that train.

    A base in a folder is known by its content alone, so that a project can be moved. A setting that was renamed keeps
    its former name in the digest, so that a version that is published already is found again.

    Args:
        workers: what counts as the number of workers, where it is not that of the settings.
        data: what `digest_sources` gives; the sources are read here where it is not given.

    Raises:
        TandemError: a source of `config.data` does not exist or cannot be read.
    """
    settings = config.model_dump(mode="json", exclude=_SETTINGS_WITHOUT_EFFECT)
    if workers is not None:
        settings["workers"] = workers
    for added in _SETTINGS_ADDED:
        if settings[added] == TrainingConfig.model_fields[added].get_default(call_default_factory=True):
            del settings[added]
    for former, current in FORMER_NAMES.items():
        settings[former] = settings.pop(current)
    return digest_json({
        "format": _FINGERPRINT_FORMAT,
        "data": data or digest_sources(config),
        "settings": settings,
        "base": base_digest if Path(model).exists() else [model, base_digest],
        "packages": {package: importlib.metadata.version(package) for package in _PACKAGES},
    })  # fmt: skip


def trained_fingerprint(config: TrainingConfig, trained: TrainingConfig, model: str, base_digest: str) -> str:
    """The fingerprint of a training with these settings, `auto` in `config` and resolved in `trained`.

    `auto` workers that are two have the fingerprint of two workers, which earlier versions took where nothing was set.
    Any other number has one of its own, so that a training with the number that somebody sets later is another.
    """
    is_auto = isinstance(config.workers, AutoWorkers)
    same = trained.workers.model_dump() == config.workers.model_dump()
    return fingerprint(config, model, base_digest, "auto" if is_auto and not same else None)


def known_fingerprints(config: TrainingConfig, model: str, base_digest: str) -> tuple[str, ...]:
    """Every fingerprint that `trained_fingerprint` may give a training with these settings, on any hardware."""
    workers, data = ("auto", None) if isinstance(config.workers, AutoWorkers) else (None,), digest_sources(config)
    return tuple(fingerprint(config, model, base_digest, each, data) for each in workers)


def digest_sources(config: TrainingConfig) -> str:
    """A digest of what is trained on and held out: of files' bytes and of hub data sets' rows, with the weights and the
    settings by which their rows are read, where these are set."""
    sources = [
        [[digest_source(source), source.weight, *([sorted(source.ignore)] if source.ignore else [])] for source in part]
        for part in (config.data, config.held_out_data)
    ]
    merged = [] if config.consecutive_turns == "refuse" else [config.consecutive_turns]
    return digest_json([*sources, *merged])


def write_trained_rows(rows: Iterable[TrainingRow], folder: Path) -> None:
    """trained.jsonl: a line for each row that was trained on, as `trained_row` gives it."""
    with (folder / "trained.jsonl").open("w") as file:
        file.writelines(json.dumps(trained_row(row)) + "\n" for row in rows)


def trained_row(row: TrainingRow) -> dict[str, Any]:
    """A row's id, its sources, and digests that recognise its text without revealing it: exactly (`sha256`,
    `question_sha256`), but for filler (`question_words_sha256`, `answer_words_sha256`)
    and nearly (`minhash` of the row, `question_minhash`). Those of questions and answers have an item for each turn,
    null where there is none (cluster.fingerprints.minhash). Of a text the questions in it count, with no answers."""
    questions = [message["content"] for message in row.messages if message["role"] == "user"]
    answers = list(_last_answers(row))
    if row.text is not None:
        questions = find_questions(row.text)
        answers = [""] * len(questions)
    minhashes = [question_minhash(question) for question in questions]
    return {
        "id": row.id, "sha256": row.digest, "question_sha256": [digest_question(question) for question in questions],
        "sources": list(row.sources), "minhash": row_minhash(row, NUM_PERMUTATIONS).hashvalues.tolist(),
        "question_words_sha256": [digest_words(question) for question in questions],
        "question_minhash": [minhash and minhash.hashvalues.tolist() for minhash in minhashes],
        "answer_words_sha256": [digest_answer(answer) for answer in answers],
    }  # fmt: skip


def was_trained_on(version: Path, rows: Iterable[TrainingRow]) -> bool:
    """Whether each row that a version was trained on is one of `rows`.

    A fingerprint knows the files, and not how an earlier release read their rows: one that left out a row's tools, its
    system message or the weights of its answers trained on other rows.

    Args:
        version: the version's folder, with its trained.jsonl.
    """
    file = version / "trained.jsonl"
    if not file.exists():
        return False
    with file.open(encoding="utf-8") as lines:
        unknown = {json.loads(line)["sha256"] for line in lines}
    for row in rows:
        if not unknown:
            break
        unknown.discard(row.digest)
    return not unknown


def _last_answers(row: TrainingRow) -> Iterator[str]:
    """What the assistant says last to each question: what it says beside calls of tools comes before that."""
    said: str | None = None
    for message in row.messages:
        if message["role"] == "user":
            if said is not None:
                yield said
            said = ""
        elif message["role"] == "assistant":
            said = message["content"]
    if said is not None:
        yield said


def result_kind(config: TrainingConfig) -> Literal["adapter", "merged"]:
    """Whether an adapter is published or a whole model: vLLM loads neither DoRA nor modules to save as an adapter."""
    return "merged" if config.method in ("full", "dora") or config.modules_to_save else "adapter"


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of the chat template's text; `NO_TEMPLATE` where the tokenizer has none."""
    if not tokenizer.chat_template:
        return NO_TEMPLATE
    return hashlib.sha256(tokenizer.get_chat_template().encode()).hexdigest()


def publish_version(
    storage: Storage,
    adapter: str,
    folder: Path,
    config: TrainingConfig,
    *,
    model: str,
    base_digest: str,
    fingerprint: str,
    template: str,
    prompt_hash: str | None,
    metrics: dict[str, float],
    promote: bool,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    stop_token_ids: Sequence[int] = (),
) -> AdapterVersion:
    """Publish the files of a finished training as the next version of `adapter`, live at once with `promote`.

    `stop_token_ids` are the tokens that end learnt answers and not those of the base model.
    """
    return Registry.of(storage).publish(
        adapter,
        folder,
        promote=promote,
        base_model=model,
        base_digest=base_digest,
        method=config.method,
        kind=result_kind(config),
        rank=config.rank,
        template_hash=template,
        prompt_hash=prompt_hash,
        data_digest=digest_sources(config),
        fingerprint=fingerprint,
        metrics=metrics,
        chat_template_kwargs=dict(chat_template_kwargs or {}),
        stop_token_ids=tuple(stop_token_ids),
    )
