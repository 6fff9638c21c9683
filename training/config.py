"""The `training:` section of the project file."""

from typing import Any, Literal

from pydantic import Field

from cluster.schema import LocalPath, Name, Section


class TrainingConfig(Section):
    """How rows become an adapter."""

    data: LocalPath | None = None
    """A JSONL file; each line has chat `messages`, or a `prompt` and a `completion`."""

    adapter: Name | None = None
    """The name to publish under; the project's name where it is not set."""

    method: Literal["lora"] = "lora"
    """What is trained: low-rank matrices beside frozen weights (LoRA, arXiv:2106.09685)."""

    rank: int = Field(default=32, ge=1, le=512)
    """Rank of the low-rank matrices. Serving must allow it (`serving.max_lora_rank`)."""

    alpha: int = Field(default=64, ge=1)
    """The adapter's output is scaled by alpha / rank."""

    target_modules: str | list[str] = "all-linear"
    """Names of the layers that get an adapter, or `all-linear`: every linear layer but the output head."""

    epochs: int = Field(default=3, ge=1)
    """How many times every training row is seen."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: to zero along a cosine or a line, or not at all."""

    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero to its peak."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of AdamW."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""

    micro_batch_size: int = Field(default=4, ge=1)
    """One forward pass of one worker takes whole rows of up to micro_batch_size * sequence_length tokens together."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Forward passes per worker before the weights change."""

    sequence_length: int = Field(default=1024, ge=8)
    """Longest row in tokens; a longer one is an error, never cut silently."""

    num_workers: int = Field(default=2, ge=1)
    """Data-parallel worker processes; on a GPU cluster one GPU each."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """What DeepSpeed ZeRO (arXiv:1910.02054) shares out: 1 optimizer state, 2 gradients as well, 3 weights as well."""

    precision: Literal["bf16", "fp32"] = "bf16"
    """Number format of weights and activations; the optimizer keeps fp32 copies of what it trains."""

    seed: int = Field(default=0, ge=0)
    """Decides the adapter's first weights, the held-out rows and the order of rows; on CPU it repeats a run exactly."""

    held_out: float = Field(default=0.05, ge=0, lt=1)
    """Share of rows kept out of training, for a held-out loss and for the log-probabilities of the parity check."""

    checkpoint_epochs: int = Field(default=1, ge=1)
    """Epochs between checkpoints; a killed worker goes on from the last one."""

    max_failures: int = Field(default=3, ge=0)
    """How many times the workers are started again after a failure before the training gives up."""

    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """A DeepSpeed configuration merged over ours; a key that Tandem computes cannot be set to another value."""
