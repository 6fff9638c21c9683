import re
from typing import Any

import pytest
from transformers import AutoConfig

from cluster.errors import TandemError
from cluster.hardware import Gpu, Hardware, Node
from training.config import TrainingConfig, WorkerRange
from training.plan.memory import GIB
from training.plan.placement import ON_CPU, Placement, WorkerDevice, place_workers, workers_device
from training.plan.shapes import read_model_shapes
from training.plan.zero_stage import (
    ZeroChoice,
    _any_fits,
    choose_zero_stage,
    open_choices,
    resolve_precision,
)

# The shape of Llama-2-7B: 6.74e9 parameters.
LLAMA = AutoConfig.for_model(
    "llama",
    dtype="bfloat16",
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    vocab_size=32000,
)


def gpu(memory_gib: float, host_gib: float = 24) -> WorkerDevice:
    return WorkerDevice("gpu", "a GPU", round(memory_gib * GIB), round(host_gib * GIB))


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig(**{"method": "full", "workers": 8, "gradient_checkpointing": True, **settings})


@pytest.mark.parametrize(
    ("memory", "host", "stage", "offload"),
    [(90, 24, 1, "none"), (42, 24, 2, "none"), (28, 24, 3, "none"), (12, 64, 3, "cpu")],
)
def test_less_memory_takes_a_later_stage(memory: float, host: float, stage: int, offload: str) -> None:
    chosen = choose_zero_stage(config(), LLAMA, gpu(memory, host))
    assert (chosen.zero_stage, chosen.offload) == (stage, offload)
    assert chosen.fits(gpu(memory, host))


def test_the_precision_is_what_the_device_computes_in() -> None:
    without = WorkerDevice("cpu", "this machine", GIB, GIB, has_bf16=False)
    assert resolve_precision(TrainingConfig(), gpu(80)).precision == "bf16"
    assert resolve_precision(TrainingConfig(), without).precision == "fp32"
    assert resolve_precision(TrainingConfig(precision="bf16"), without).precision == "bf16"


def test_one_worker_has_nothing_to_share() -> None:
    assert choose_zero_stage(config(workers=1, method="lora", precision="fp32"), LLAMA, gpu(80)).zero_stage == 0
    assert choose_zero_stage(config(workers={"min": 1, "max": 2}, method="lora"), LLAMA, gpu(80)).zero_stage == 1


def test_a_disk_is_used_only_where_there_is_a_path(tmp_path: Any) -> None:
    with pytest.raises(TandemError):
        choose_zero_stage(config(), LLAMA, gpu(12, host_gib=24))
    assert choose_zero_stage(config(nvme_path=tmp_path), LLAMA, gpu(12, host_gib=24)).offload == "nvme"


def test_what_the_user_sets_is_kept() -> None:
    assert choose_zero_stage(config(zero_stage=3), LLAMA, gpu(500)).zero_stage == 3
    assert choose_zero_stage(config(offload="cpu"), LLAMA, gpu(500, 500)).offload == "cpu"
    chosen = choose_zero_stage(config(zero_stage=2, offload="cpu"), LLAMA, gpu(500, 500))
    assert (chosen.zero_stage, chosen.offload) == (2, "cpu")


def test_four_bit_weights_are_never_cut() -> None:
    tried = list(open_choices(config(method="qlora"), read_model_shapes(config(method="qlora"), LLAMA)))
    assert {each.zero_stage for each in tried} == {1, 2}


@pytest.mark.parametrize(
    "settings", [{"method": "qlora", "zero_stage": 3}, {"zero_stage": 0, "offload": "cpu"}], ids=str
)
def test_what_cannot_be_run_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TandemError, match="cannot be run"):
        choose_zero_stage(config(**settings), LLAMA, gpu(500, 500))


def test_what_cannot_fit_is_refused_with_what_would() -> None:
    wanted = config(workers=1, method="lora", gradient_checkpointing=False, micro_batch_size=8, sequence_length=2048)
    with pytest.raises(TandemError) as refused:
        choose_zero_stage(wanted, LLAMA, gpu(24))
    assert "gradient_checkpointing: true" in str(refused.value)
    assert "workers: 16" not in str(refused.value)  # activations are each worker's own
    for change in refused.value.accepted.split("would: ")[1].rstrip(".").split("; "):
        settings = dict(each.split(": ") for each in change.split(" with "))
        changed = wanted.model_dump() | {k: {"true": True}.get(v, v) for k, v in settings.items()}
        assert choose_zero_stage(TrainingConfig(**changed), LLAMA, gpu(24))


def test_more_workers_are_named_where_they_would_do() -> None:
    with pytest.raises(TandemError, match="workers: 8"):
        choose_zero_stage(config(workers=2), LLAMA, gpu(24))


def nodes(num_nodes: int, gpus_each: int, memory: int, host: int) -> Hardware:
    return Hardware(tuple(Node(16, host * GIB, (Gpu("a GPU", memory * GIB),) * gpus_each) for _ in range(num_nodes)))


def refusal(wanted: TrainingConfig, model: Any, hardware: Hardware) -> str:
    placement = place_workers(wanted, hardware)
    with pytest.raises(TandemError) as refused:
        choose_zero_stage(wanted, model, workers_device(wanted, placement, hardware), placement, hardware)
    return refused.value.accepted


@pytest.mark.parametrize(
    ("hardware", "workers"),
    [
        (nodes(1, 1, 80, 64), 1),  # one GPU
        (nodes(1, 1, 24, 60), 1),
        (nodes(1, 8, 80, 128), 1),  # more GPUs, and little main memory for each
        (nodes(1, 8, 80, 2000), 1),
        (nodes(2, 8, 24, 200), 2),
        (nodes(4, 1, 80, 30), 1),
    ],
)
def test_more_workers_are_settings_only_where_they_have_room(hardware: Hardware, workers: int) -> None:
    wanted = resolve_precision(config(workers=workers, offload="none"), gpu(80))
    accepted = refusal(wanted, MODELS["8B"], hardware)
    settings, *others = accepted.split("Other hardware that fits: ")
    for number in map(int, re.findall(r"workers: (\d+)", settings)):
        changed = wanted.model_copy(update={"workers": WorkerRange(min=number, max=number)})
        placement = place_workers(changed, hardware)
        device = workers_device(changed, placement, hardware)
        assert choose_zero_stage(changed, MODELS["8B"], device, placement, hardware)
    for each in others:
        found = re.match(r"(\d+) GPUs like a GPU, with `workers: (\d+)` and ([\d.]+) GiB of main memory", each)
        assert found and found[1] == found[2]
    assert len(re.findall(r"workers: \d+", accepted)) <= 1


def test_one_gpu_is_offered_no_more_workers_as_a_setting() -> None:
    accepted = refusal(resolve_precision(config(workers=1), gpu(80)), MODELS["8B"], nodes(1, 1, 80, 64))
    settings, other = accepted.split(" Other hardware that fits: ")
    assert "workers" not in settings
    assert other == "4 GPUs like a GPU, with `workers: 4` and 64.00 GiB of main memory for each worker."


def test_a_node_with_free_gpus_is_offered_more_workers() -> None:
    wanted = resolve_precision(config(workers=1, offload="none"), gpu(80))
    assert "workers: 4." in refusal(wanted, MODELS["8B"], nodes(1, 8, 80, 2000))
    assert "Other hardware" not in refusal(wanted, MODELS["8B"], nodes(1, 8, 80, 2000))


@pytest.mark.parametrize(
    "section", [{"bf16": {"enabled": False}}, {"optimizer": {"params": None}}, {"zero_optimization": {"stage": 0}}]
)
def test_a_conflict_is_refused_before_memory_is_looked_at(section: dict[str, Any]) -> None:
    with pytest.raises(TandemError, match="deepspeed sets"):
        choose_zero_stage(config(deepspeed=section), LLAMA, gpu(1))
    assert choose_zero_stage(config(deepspeed={"zero_optimization": {"stage": 3}}), LLAMA, gpu(28)).zero_stage == 3


def test_fits_counts_the_workers_there_are() -> None:
    assert _any_fits(config(), LLAMA, gpu(28), ON_CPU)
    assert not _any_fits(config(workers=2), LLAMA, gpu(28), ON_CPU)
    # A copy of all weights within each node takes an eighth of them more.
    sharded, one_node = config(zero_stage=3, offload="none", workers=16), Placement("gpu", 1, 16, 1)
    (choice,) = open_choices(sharded, read_model_shapes(sharded, LLAMA), "gpu", one_node)
    enough = gpu(choice.estimate.total / GIB / 0.9 + 0.1)
    assert _any_fits(sharded, LLAMA, enough, one_node)
    assert not _any_fits(sharded, LLAMA, enough, Placement("gpu", 1, 8, 2))


def test_offload_does_not_help_where_the_memory_is_the_same() -> None:
    cpu = WorkerDevice("cpu", "this machine", 60 * GIB, 60 * GIB)
    chosen = choose_zero_stage(config(offload="none"), LLAMA, cpu)
    assert chosen.offload == "none"
    moved = next(each for each in open_choices(config(offload="cpu"), read_model_shapes(config(), LLAMA)))
    small = WorkerDevice("cpu", "this machine", moved.estimate.total + moved.estimate.host - 1, 10**15)
    assert not ZeroChoice(moved.zero_stage, moved.offload, moved.estimate).fits(small)


def shape(hidden: int, intermediate: int, layers: int, heads: int, vocabulary: int = 128256, tied: bool = False) -> Any:
    return AutoConfig.for_model(
        "llama", hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, vocab_size=vocabulary,
        num_attention_heads=heads, num_key_value_heads=8, tie_word_embeddings=tied, dtype="bfloat16",
    )  # fmt: skip


MODELS = {
    "1B": shape(2048, 8192, 16, 32, tied=True),
    "8B": shape(4096, 14336, 32, 32),
    "32B": shape(5120, 27648, 64, 40, 152064),
    "70B": shape(8192, 28672, 80, 64),
}
# The share of each worker: memory and main memory in GiB; workers per node, nodes.
MACHINES = {
    "1 x 24 GB": (24, 60, 1, 1),
    "1 x H200": (139, 128, 1, 1),
    "8 x H100": (79, 250, 8, 1),
    "2 x 8 x H100": (79, 250, 8, 2),
}
CHOSEN = {
    ("1 x 24 GB", "1B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (3, "cpu")},
    ("1 x 24 GB", "8B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": "main memory"},
    ("1 x 24 GB", "32B"): {"lora": "main memory", "qlora": "GPU memory", "full": "main memory"},
    ("1 x 24 GB", "70B"): {"lora": "main memory", "qlora": "GPU memory", "full": "main memory"},
    ("1 x H200", "1B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (1, "none")},
    ("1 x H200", "8B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": "main memory"},
    ("1 x H200", "32B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": "main memory"},
    ("1 x H200", "70B"): {"lora": "main memory", "qlora": (1, "none"), "full": "main memory"},
    ("8 x H100", "1B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (1, "none")},
    ("8 x H100", "8B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (1, "none")},
    ("8 x H100", "32B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (3, "cpu")},
    ("8 x H100", "70B"): {"lora": (3, "none"), "qlora": (1, "none"), "full": (3, "cpu")},
    ("2 x 8 x H100", "8B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (1, "none")},
    ("2 x 8 x H100", "32B"): {"lora": (1, "none"), "qlora": (1, "none"), "full": (3, "none")},
    ("2 x 8 x H100", "70B"): {"lora": (3, "none"), "qlora": (1, "none"), "full": (3, "cpu")},
}


def described(machine: str, **settings: Any) -> tuple[TrainingConfig, WorkerDevice, Placement]:
    memory, host, per_node, num_nodes = MACHINES[machine]
    device = gpu(memory, host)
    wanted = TrainingConfig(
        workers=per_node * num_nodes, micro_batch_size=1, sequence_length=4096, gradient_checkpointing=True, **settings
    )
    return resolve_precision(wanted, device), device, Placement("gpu", 1, per_node, num_nodes)


@pytest.mark.parametrize(
    ("machine", "model", "method", "expected"),
    [(*place, method, expected) for place, methods in CHOSEN.items() for method, expected in methods.items()],
)
def test_described_machines(machine: str, model: str, method: Any, expected: Any) -> None:
    wanted, device, placement = described(machine, method=method)
    if isinstance(expected, tuple):
        chosen = choose_zero_stage(wanted, MODELS[model], device, placement)
        assert (chosen.zero_stage, chosen.offload) == expected
        assert chosen.estimate.host + chosen.estimate.publishing_share <= device.host_bytes
        return
    with pytest.raises(TandemError) as refused:
        choose_zero_stage(wanted, MODELS[model], device, placement)
    # The last named is what keeps its state elsewhere: it lacks this and nothing else.
    with_offload = refused.value.seen.split("; or ")[1]
    assert f"GiB of {expected} (it has " in with_offload
    assert "GPU memory" not in with_offload or expected == "GPU memory"


def test_a_full_training_on_one_h200_lacks_main_memory_and_says_how_much() -> None:
    wanted, device, placement = described("1 x H200", method="full")
    with pytest.raises(TandemError) as refused:
        choose_zero_stage(wanted, MODELS["8B"], device, placement)
    assert "(it has 125.10 GiB to plan with) with ZeRO 1" in refused.value.seen
    needed = float(refused.value.seen.split("; or ")[1].split(" GiB of main memory")[0])
    enough = gpu(139, needed + 0.01)
    assert choose_zero_stage(wanted, MODELS["8B"], enough, placement).offload == "cpu"
    with pytest.raises(TandemError):
        choose_zero_stage(wanted, MODELS["8B"], gpu(139, needed - 0.01), placement)


@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 2), ("float16", 2), ("float32", 4), (None, 4)])
def test_a_merged_result_is_planned_in_the_format_of_the_base(dtype: str | None, size: int) -> None:
    wanted, device, placement = described("8 x H100", method="dora")
    base = AutoConfig.for_model(**{**MODELS["8B"].to_dict(), "dtype": dtype})
    shapes = read_model_shapes(wanted, base)
    assert shapes.stored_size == size
    publishing = choose_zero_stage(wanted, base, device, placement).estimate.publishing
    merged = shapes.total * size
    assert publishing == pytest.approx(shapes.trained * 2 + merged + min(merged, 5e9), rel=1e-6)


def test_a_merged_result_is_put_together_in_main_memory() -> None:
    wanted, device, placement = described("8 x H100", method="dora")
    chosen = choose_zero_stage(wanted, MODELS["70B"], device, placement)
    assert chosen.estimate.publishing > 2 * 70e9
    assert choose_zero_stage(described("8 x H100")[0], MODELS["70B"], device, placement).estimate.publishing < 2e9
    short = gpu(79, 10)
    with pytest.raises(TandemError, match="main memory"):
        choose_zero_stage(wanted, MODELS["70B"], short, placement)


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({"workers": 8}, "gpu", "bf16"),
        ({"workers": 8, "gradient_accumulation": 4}, "gpu", "bf16"),
        ({"workers": 8, "gradient_accumulation": 5}, "gpu", "fp32"),
        ({"workers": {"min": 2, "max": 16}}, "gpu", "fp32"),  # two workers make eight passes each
        ({"workers": 17}, "gpu", "fp32"),
        ({"workers": 17}, "cpu", "bf16"),
        ({"workers": 17, "zero_stage": 1}, "gpu", "bf16"),
        ({"workers": 17, "precision": "fp32"}, "gpu", "bf16"),
        ({"workers": 17, "gradient_precision": "bf16"}, "gpu", "bf16"),
        ({"workers": 1, "gradient_precision": "fp32"}, "cpu", "fp32"),
    ],
    ids=str,
)
def test_many_small_gradients_are_added_up_in_fp32(settings: dict[str, Any], kind: str, expected: str) -> None:
    resolved = resolve_precision(TrainingConfig(**settings), WorkerDevice(kind, "it", 80 * GIB, 80 * GIB))
    assert resolved.gradient_precision == expected


def test_gradients_in_fp32_take_a_stage_that_shares_them_out() -> None:
    wanted, device, placement = described("1 x H200", gradient_accumulation=8)
    assert wanted.gradient_precision == "fp32"
    chosen = choose_zero_stage(wanted, MODELS["8B"], device, placement)
    assert chosen.zero_stage == 2
    in_bf16 = wanted.model_copy(update={"gradient_precision": "bf16", "zero_stage": 2})
    less = choose_zero_stage(in_bf16, MODELS["8B"], device, placement).estimate
    trained = read_model_shapes(wanted, MODELS["8B"]).trained
    assert chosen.estimate.gradients == 2 * less.gradients == 4 * trained
    with pytest.raises(TandemError, match="gradient_precision: fp32"):
        resolve_precision(TrainingConfig(gradient_precision="fp32", zero_stage=1), device)


def test_a_copy_of_the_weights_within_each_node_is_counted() -> None:
    wanted, device, placement = described("2 x 8 x H100", zero_stage=3)
    with_copy = choose_zero_stage(wanted, MODELS["70B"], device, placement).estimate
    without = choose_zero_stage(wanted, MODELS["70B"], device, Placement("gpu", 1, 16, 1)).estimate
    shapes = read_model_shapes(wanted, MODELS["70B"])
    assert with_copy.weights - without.weights == pytest.approx(2 * shapes.total / 8, rel=1e-6)
    refused = wanted.model_copy(update={"deepspeed": {"zero_optimization": {"zero_hpz_partition_size": 1}}})
    assert choose_zero_stage(refused, MODELS["70B"], device, placement).estimate.weights == without.weights
