"""What is known of a published version of an adapter."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from cluster.config import SCHEMA_VERSION
from cluster.errors import TandemError
from cluster.registry.transfer import MANIFEST, fetch_version

if TYPE_CHECKING:
    from cluster.storage.buckets import Bucket


class UnknownAdapter(TandemError):
    """No such adapter, version or alias in the registry."""


class AdapterManifest(BaseModel):
    """What a version was made from and with; enough to refuse it where it does not fit."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    name: str
    version: int
    base_model: str
    base_digest: str
    content_digest: str
    method: str
    kind: Literal["adapter", "merged"] = "adapter"
    """`merged`: a whole model in place of an adapter; it is served as a base of its own."""

    rank: int
    template_hash: str
    prompt_hash: str | None
    data_digest: str
    fingerprint: str
    created: str
    git_commit: str | None
    versions: dict[str, str]
    metrics: dict[str, float]
    chat_template_kwargs: dict[str, bool | int | float | str | None] = {}
    """Settings of the chat template that all rows were trained with: the endpoint's defaults for this version. Written
    only where there are some, so that an earlier version of Tandem reads every other manifest."""

    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end learnt answers and not those of the base model: answers of this version end there. Written only
    where there are some, as well."""

    @model_serializer(mode="wrap")
    def _without_empty_settings(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name in ("chat_template_kwargs", "stop_token_ids"):
            if not getattr(self, name):
                values.pop(name, None)
        return values


class ParityCheck(BaseModel):
    """How far the log-probabilities of a served version are from the trainer's, in nats per answer token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_rows: int
    num_tokens: int
    mean_difference: float
    max_difference: float
    tolerance: float
    """The largest mean difference that lets a version go live."""

    base_difference: float | None = None
    """How far the served base is from the trained one on the same rows, on average; None where that is not known."""

    checked: str
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        return self.mean_difference <= self.tolerance


class CopyCheck(ParityCheck):
    """The parity check of a version that was trained on one model and is served on a copy of it in other numbers."""

    original_digest: str
    """The digest of the model that the version was trained on."""

    copy_digest: str
    """The digest of the copy that answered."""


@dataclass(frozen=True)
class AdapterVersion:
    """One published version: its folder and its manifest."""

    folder: Path
    manifest: AdapterManifest
    bucket: "Bucket | None" = field(default=None, compare=False, repr=False)
    """Where its files come from when they are first asked for."""

    @property
    def path(self) -> Path:
        """The folder with all its files; they are fetched whole, or not at all, where they are not here yet.

        Raises:
            TandemError: they cannot be fetched, or are not what the manifest says.
        """
        if self.bucket and not (self.folder / MANIFEST).exists():
            fetch_version(self.bucket, f"{self.name}/v{self.version}", self.folder)
        return self.folder

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def engine_id(self) -> str:
        """The name that the engine knows it by: version and content, since vLLM's prefix cache is keyed by the name."""
        return f"{self.name}.v{self.version}.{self.manifest.content_digest[:12]}"
