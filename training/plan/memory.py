"""How much memory one worker of a training needs, part by part; pure arithmetic on shapes and settings.

Model states follow ZeRO (arXiv:1910.02054, section 5): with N trained parameters on n workers, optimizer state is
shared out from stage 1, gradients from stage 2 and weights from stage 3. Activations follow Korthikanti et al.
(arXiv:2205.05198, section 4), counted for a gated feed-forward and grouped attention, without the terms in the square
of the length: variable-length attention never keeps the scores.
"""

from dataclasses import dataclass

from training.config import LOGIT_CHUNK_TOKENS, TrainingConfig
from training.plan.deepspeed_config import (
    PERSISTENT_PARAMETER,
    REDUCE_BUCKET,
    hierarchical_group,
    uses_deepspeeds_cpu_optimizer,
    uses_fused_optimizer,
)
from training.plan.placement import ON_CPU, Placement
from training.plan.shapes import ModelShapes

GIB = 2**30
MEMORY_ALLOWANCE = GIB
"""Bytes that are not computed: CUDA context, communication library, rounding of the allocator; in a worker on CPU, the
interpreter and its libraries."""

# DeepSpeed's default of stage3_max_live_parameters (https://www.deepspeed.ai/docs/config-json/).
_LIVE_PARAMETERS = 1_000_000_000
_WEIGHTS_FILE = 5 * 10**9
"""Bytes of one file of weights, as they are published: what is in main memory while weights go to a GPU."""

# Estimate divided by published peak, minimum and maximum over all published figures (benchmarks/plan_memory.py).
_PUBLISHED_ERRORS = {
    ("full", 0, "none"): (0.97, 1.09),
    ("full", 2, "none"): (0.91, 1.16),
    ("full", 2, "cpu"): (0.96, 0.96),
    ("full", 3, "none"): (0.84, 0.97),
    ("full", 3, "cpu"): (0.70, 1.61),
    ("lora", 0, "none"): (0.67, 1.15),
    ("lora", 3, "none"): (0.80, 0.97),
    ("dora", 0, "none"): (0.59, 1.15),
    ("qlora", 0, "none"): (0.74, 0.87),
}


@dataclass(frozen=True)
class NumberFormats:
    """Number formats, in bytes per parameter or per value of an activation."""

    activation: float
    frozen: float
    weight: float
    gradient: float
    optimizer: float
    step: float
    """Temporary bytes of the optimizer in a step, per parameter of its share."""

    quantized: float | None = None
    """Frozen weights of linear layers, where they are kept in 4 bits."""


@dataclass(frozen=True)
class MemorySetup:
    """The settings that decide the memory of one worker, besides the model's shapes."""

    stage: int
    offload: str
    num_workers: int
    num_tokens: int
    """Tokens in one forward pass."""

    checkpointing: bool
    method: str
    rank: int
    formats: NumberFormats
    logit_tokens: int | None = None
    """Tokens whose logits exist at one time; all of them where it is not set."""

    answer_tokens: int = 0
    """Tokens whose hidden states, and the gradients of these, are kept because logits are made chunk by chunk."""

    live_parameters: int = _LIVE_PARAMETERS
    """Parameters that stage 3 holds together for a moment."""

    reduce_bucket: int = REDUCE_BUCKET
    on_gpu: bool = False
    """With the buffers that Tandem has DeepSpeed use on GPUs: two buckets of gradients, one of which is reduced while
    the other fills, and an adapter that ZeRO-3 keeps whole."""

    reduces_in_fp32: bool = False
    hierarchical_group: int = 1
    """GPUs that share a second copy of all weights with ZeRO-3; 1 for no such copy."""

    workers_on_node: int = 1
    """Workers that share the main memory of the first worker's node."""

    published_merged: bool = False
    has_mismatched_pairs: bool = False
    """KTO passes mismatched pairs without gradients, of up to twice the tokens of a forward pass."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one worker."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    temporary: int
    """Buckets of communication and weights gathered for a moment."""

    step: int
    """Temporary bytes of the optimizer in its step, when activations and logits are freed."""

    allowance: int
    host: int
    """Main memory of offloaded state."""

    disk: int
    """Disk for state offloaded to NVMe."""

    loading: int = 0
    """Main memory of a worker on a GPU while it loads the base, before anything is offloaded."""

    publishing: int = 0
    """Main memory of the first worker while it publishes, beside `host`: the trained weights whole, and for a merged
    result the base and one file of what is written."""

    publishing_share: int = 0
    """The same, divided among the workers of the node: what each of their shares of main memory must have room for."""

    kept: int = 0
    """Bytes of the device that are still held then: weights, gradients and optimizer state."""

    @property
    def computed(self) -> int:
        """The peak without the allowance: what an allocator's own counter can see."""
        transient = max(self.activations + self.logits + self.temporary, self.step)
        return self.weights + self.gradients + self.optimizer + transient

    @property
    def total(self) -> int:
        return self.computed + self.allowance


def memory_setup(
    config: TrainingConfig, stage: int, offload: str, kind: str = "cpu", placement: Placement = ON_CPU
) -> MemorySetup:
    """The setup of a training as Tandem runs it, with the fewest workers; every token counted as an answer's.

    Args:
        kind: what the workers train on: `gpu` or `cpu`.
        placement: on which nodes they are.
    """
    chosen = config.model_copy(update={"zero_stage": stage, "offload": offload})
    num_tokens = config.micro_batch_size * config.sequence_length
    return MemorySetup(
        stage=stage,
        offload=offload,
        num_workers=config.workers.min,
        num_tokens=num_tokens,
        logit_tokens=min(num_tokens, LOGIT_CHUNK_TOKENS),
        answer_tokens=num_tokens,
        checkpointing=config.gradient_checkpointing,
        method=config.method,
        rank=config.rank,
        formats=number_formats(chosen, kind),
        on_gpu=kind == "gpu",
        reduces_in_fp32=config.precision != "fp32" and config.gradient_precision == "fp32",
        hierarchical_group=hierarchical_group(chosen, config.workers.min, placement) if stage == 3 else 1,
        workers_on_node=_workers_on_node(config, kind, placement),
        published_merged=config.method in ("full", "dora") or bool(config.modules_to_save),
        has_mismatched_pairs=config.objective == "kto",
    )


def _workers_on_node(config: TrainingConfig, kind: str, placement: Placement) -> int:
    """On a CPU all of them; on GPUs those of the node with the fewest, where the nodes are known."""
    return config.workers.min if kind == "cpu" else max(1, min(placement.workers_per_node, config.workers.min))


def number_formats(config: TrainingConfig, kind: str = "cpu") -> NumberFormats:
    """Tandem's number formats: weights and gradients in `precision`, an fp32 copy and two moments in the optimizer.

    DeepSpeed keeps the fp32 copy of fp32 weights as well. In a step it makes an fp32 copy of the gradients, and torch's
    AdamW another of the moments where it is not fused; DeepSpeed's own for CPUs does without. QLoRA's 4 bits have an
    8-bit scale for 64 weights and a 32-bit one for 256 of those (arXiv:2305.14314, section 3).
    """
    size = 4 if config.precision == "fp32" else 2
    gradient = 4 if config.gradient_precision == "fp32" else size
    nf4 = 0.5 + (1 + 4 / 256) / 64 if config.method == "qlora" else None
    copies_moments = not (uses_fused_optimizer(config, kind) or uses_deepspeeds_cpu_optimizer(config, kind))
    step = 8 if copies_moments else 4
    return NumberFormats(size, size, size, gradient, optimizer=12, step=step, quantized=nf4)


def estimate_memory(shapes: ModelShapes, setup: MemorySetup) -> MemoryEstimate:
    """The memory of one worker at its peak."""
    formats, n = setup.formats, setup.num_workers
    frozen, trained = _frozen_bytes(shapes, formats), shapes.trained * formats.weight
    weights = (frozen + trained) / (n if setup.stage == 3 else 1)
    gradients = shapes.trained * formats.gradient / (n if setup.stage >= 2 else 1)
    share = shapes.trained / (n if setup.stage >= 1 else 1)
    optimizer, step = share * formats.optimizer, share * formats.step
    offloaded = 0.0
    if setup.offload != "none":
        # The step is made where the optimizer lies (ZeRO-Offload, arXiv:2101.06840), and gradients are moved there.
        offloaded = optimizer + gradients + step + (weights if setup.stage == 3 else 0)
        optimizer = step = gradients = 0
        weights = 0 if setup.stage == 3 else weights
    weights += _whole_weights(shapes, setup)
    activations, logits = _activation_bytes(shapes, setup), _logit_bytes(shapes, setup)
    publishing = _publishing_bytes(shapes, setup)
    if setup.checkpointing:
        # Logits are gone before the first layer is computed again: the larger of the two counts.
        layer = setup.num_tokens * _layer_bytes(shapes, setup)
        activations += max(0.0, layer - logits)
    if setup.has_mismatched_pairs:
        activations = max(activations, 2 * setup.num_tokens * _layer_bytes(shapes, setup))
    return MemoryEstimate(
        weights=round(weights),
        gradients=round(gradients),
        optimizer=round(optimizer),
        activations=round(activations),
        logits=round(logits),
        temporary=round(_temporary_bytes(shapes, setup)),
        step=round(step),
        allowance=MEMORY_ALLOWANCE,
        host=round(offloaded) if setup.offload == "cpu" else 0,
        disk=round(offloaded) if setup.offload == "nvme" else 0,
        loading=round(_loading_bytes(shapes, setup)),
        publishing=round(publishing),
        publishing_share=round(publishing / setup.workers_on_node),
        kept=round(weights + gradients + optimizer),
    )


def checkpoint_bytes(shapes: ModelShapes, config: TrainingConfig) -> int:
    """Disk of one checkpoint of all workers: the trained weights, and the optimizer's copy and moments."""
    formats = number_formats(config)
    return round(shapes.trained * (formats.weight + formats.optimizer))


def published_error_range(
    method: str, stage: int, offload: str, precision: str, kind: str
) -> tuple[float, float] | None:
    """Minimum and maximum of estimate / published peak for such a training; None where no figure is known.

    Args:
        kind: `gpu` or `cpu`; all figures are of GPUs, in bf16.
    """
    return _PUBLISHED_ERRORS.get((method, stage, offload)) if (precision, kind) == ("bf16", "gpu") else None


def _frozen_bytes(shapes: ModelShapes, formats: NumberFormats) -> float:
    if formats.quantized is None:
        return shapes.frozen * formats.frozen
    return shapes.quantized * formats.quantized + (shapes.frozen - shapes.quantized) * formats.frozen


def _activation_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    """All layers' activations, or only each layer's input where the rest is computed again."""
    per_layer = setup.formats.activation * shapes.hidden if setup.checkpointing else _layer_bytes(shapes, setup)
    adapted = shapes.adapted_experts * setup.formats.frozen / (shapes.layers if setup.checkpointing else 1)
    return setup.num_tokens * shapes.layers * per_layer + adapted


def _layer_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    """Bytes per token that one layer keeps for its backward pass.

    Two norms, each with its fp32 input, its normed value and its output; queries, keys, values and the attention's
    output; gate, activated gate, up and their product; a copy of the layer's input and of its output for each expert
    that a token goes to. An adapter adds its inner values, where its format is another one its cast input as well, and
    DoRA the layer's output twice (arXiv:2402.09353, as PEFT computes it).
    """
    size = setup.formats.activation
    norms = 2 * shapes.hidden * (4 + 2 * size)
    attention = size * 2 * (shapes.queries + shapes.keys)
    feed_forward = size * (4 * shapes.intermediate + 2 * shapes.routed * shapes.hidden)
    adapter = setup.formats.weight * setup.rank * shapes.num_adapters
    if setup.formats.weight != size:
        adapter += setup.formats.weight * shapes.adapter_inputs
    if setup.method == "dora":
        adapter += 2 * setup.formats.weight * shapes.adapter_outputs
    return norms + attention + feed_forward + adapter / shapes.layers


def _logit_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    """Logits, their fp32 copy, log-probabilities and the gradient of these; the hidden states that chunks are cut from.

    Where logits are made in several chunks and the head is trained, its gradient is summed in fp32, and that of a chunk
    is added to it.
    """
    size = setup.formats.activation
    num_tokens = setup.num_tokens if setup.logit_tokens is None else setup.logit_tokens
    logits = num_tokens * shapes.vocabulary * (size + (4 if size < 4 else 0) + 8)
    hidden = setup.answer_tokens * shapes.hidden * 2 * size
    summed = shapes.vocabulary * shapes.hidden * (4 + size) if num_tokens < setup.answer_tokens else 0
    return logits + hidden + (summed if shapes.is_head_trained else 0)


def _whole_weights(shapes: ModelShapes, setup: MemorySetup) -> float:
    """What ZeRO-3 holds beside its share: an adapter, whose matrices stay whole, and the copy within a node."""
    if setup.stage < 3 or not setup.on_gpu:
        return 0.0
    whole, adapter = 0.0, shapes.adapter * setup.formats.weight
    if shapes.largest_width * setup.rank <= PERSISTENT_PARAMETER:
        whole = adapter if setup.offload != "none" else adapter * (1 - 1 / setup.num_workers)
    if setup.hierarchical_group > 1:
        trained = shapes.trained * setup.formats.weight
        whole += (_frozen_bytes(shapes, setup.formats) + trained) / setup.hierarchical_group
    return whole


def _temporary_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    formats = setup.formats
    temporary = 0.0
    if setup.stage == 3 and (setup.num_workers > 1 or setup.offload != "none"):
        num_frozen = shapes.frozen or 1
        size = formats.weight if shapes.trained == shapes.total else _frozen_bytes(shapes, formats) / num_frozen
        temporary += min(shapes.total, setup.live_parameters) * size
    bucket = min(shapes.trained, setup.reduce_bucket)
    if setup.on_gpu and setup.stage:
        num_buckets = 2 if setup.num_workers > 1 and setup.stage < 3 else 1
        temporary += bucket * (num_buckets * formats.weight + (4 if setup.reduces_in_fp32 else 0))
    elif setup.stage in (1, 2) and setup.num_workers > 1:
        temporary += bucket * formats.weight
    if formats.quantized is not None:
        temporary += shapes.largest_layer * formats.activation
    return temporary


def _loading_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    """Main memory for loading the base to a GPU; on a CPU the base is loaded to where it stays.

    Files of weights are mapped, and only what is read of one is held. With ZeRO-3 transformers puts the stacked experts
    of a mixture together in main memory, in every worker.
    """
    if not setup.on_gpu:
        return 0.0
    base = shapes.frozen if setup.method != "full" else shapes.total
    if setup.stage == 3 and shapes.experts:
        return base * float(shapes.stored_size)
    return min(base * shapes.stored_size, _WEIGHTS_FILE)


def _publishing_bytes(shapes: ModelShapes, setup: MemorySetup) -> float:
    """Main memory for the trained weights, and for a merged result the base that they are added to."""
    state = shapes.trained * setup.formats.weight
    if not setup.published_merged:
        return state
    whole = shapes.total * shapes.stored_size
    written = min(whole, _WEIGHTS_FILE)
    # A full training's weights are the result; where they are in another format, a copy of them is written.
    merged = whole if setup.method != "full" or setup.formats.weight != shapes.stored_size else 0
    return state + merged + written
