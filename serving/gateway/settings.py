"""What a gateway is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway knows without asking anyone. `bases` has the digest of each base model by its name."""

    bases: dict[str, str]
    adapters: Path
    max_lora_rank: int
    request_timeout_s: float
    answer_without: bool
    prompt_tokens: int
    retrieval_timeout_s: float
    max_requests: int
    drain_s: float
    search_settings: str = ""
    """A digest of what decides the answers of a search."""
    without_adapters: tuple[str, ...] = ()
    """Base models to which no adapters are served."""
    num_engines: int = 1
    """Replicas for each base model."""
    sleeps: bool = False
    """Whether there may be none while nobody asks."""
    keys: Path | None = None
    """The folder of API keys; None lets everybody in."""
    redis_url: str | None = None
    """Where the use of keys is counted; None counts it in a deployment."""
    adapter_registry: str | None = None
    """A store whose adapters are copied into `adapters` as they appear."""
    key_registry: str | None = None
    """A store whose keys are copied into `keys`, and removed there once they are revoked."""
    logs: Path | None = None
    """The folder of the access log; None writes none."""
    reports: Path | None = None
    """The storage, for the last comparison's report; None shows none."""
    log_prompts: bool = False
    otlp_endpoint: str | None = None
    """Where traces go; None records none."""
    originals: Mapping[str, str] = field(default_factory=dict)
    """The digest of the model that a base model is a copy of in other numbers, by the base model's name."""
    being_checked: frozenset[str] = frozenset()
    """Engine ids of versions that are served on a copy of their base for their parity check, whether or not they
    passed one."""
