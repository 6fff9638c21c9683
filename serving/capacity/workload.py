"""The load that a plan is made for."""

import math
from dataclasses import dataclass, field

from cluster.errors import TandemError
from retrieval.config import MilvusConfig

DAY_S = 86_400
# Beyond these a figure is a slip of the keyboard rather than a plan.
MAX_VALUES = {"requests_per_s": 1e6, "tokens_in": 1e6, "tokens_out": 1e6, "chunks": 1e11, "dimensions": 65_536,
        "milvus_replicas": 64, "adapters": 1e6, "zipf": 10, "loaded_adapters": 1e6, "batch": 65_536,
        "node_cores": 4096, "node_gib": 65_536, "node_gpus": 64}  # fmt: skip
MAY_BE_ZERO = ("chunks", "adapters", "zipf")


@dataclass(frozen=True)
class Workload:
    """The load at its peak, and what the nodes have. Raises TandemError for what makes no sense."""

    requests_per_s: float
    tokens_in: int
    """Of the prompt, passages included."""
    tokens_out: int
    chunks: int = 0
    """Chunks that every question is searched in; 0: no retrieval."""
    dimensions: int = 384
    milvus_replicas: int = 1
    milvus: MilvusConfig = field(default_factory=MilvusConfig)
    adapters: int = 0
    zipf: float = 1.0
    """How uneven their popularity is: the n-th gets a share that goes with n to minus this."""
    loaded_adapters: int = 16
    keys: bool = True
    """Whether callers have keys with limits."""
    redis: bool = False
    batch: int = 64
    """Most requests in a batch (`serving.max_num_seqs`)."""
    most_busy: float = 0.7
    node_cores: int = 16
    node_gib: float = 64.0
    node_gpus: int = 8

    def __post_init__(self) -> None:
        for name, most in MAX_VALUES.items():
            value = getattr(self, name)
            least_is_zero = name in MAY_BE_ZERO
            if not math.isfinite(value) or value > most or value < 0 or (value == 0 and not least_is_zero):
                raise TandemError(
                    f"{name.replace('_', ' ')} is {value:g}.",
                    f"A number {'from' if least_is_zero else 'above'} 0, up to {most:,.0f}.",
                    "Give the load at its peak, in the units that `tandem plan-serve --help` names.",
                )
        if not 0 < self.most_busy < 1:
            raise TandemError(
                f"Parts are to be busy for {self.most_busy:g} of the time.",
                "A share between 0 and 1, such as 0.7.",
                "With 1 whoever comes waits for ever.",
            )


def peak(requests_per_s: float | None, questions_per_day: float | None, peak_factor: float) -> float:
    """Requests a second at the peak: as given, or of a day's mean.

    Raises:
        TandemError: none or both are given, or the factor is below 1.
    """
    if (requests_per_s is None) == (questions_per_day is None):
        raise TandemError(
            "No load is given." if requests_per_s is None else "The load is given twice.",
            "One of --requests-per-s (at the peak) and --questions-per-day.",
            "Such as `tandem plan-serve --questions-per-day 20000`.",
        )
    if not (math.isfinite(peak_factor) and 1 <= peak_factor <= DAY_S):
        raise TandemError(
            f"The peak factor is {peak_factor:g}.",
            "How many times the mean of the day the peak is: 1 or more.",
            "Look at the busiest minute of `ray_tandem_requests_total`, or of the log of what you have now.",
        )
    return requests_per_s if requests_per_s is not None else (questions_per_day or 0) * peak_factor / DAY_S
