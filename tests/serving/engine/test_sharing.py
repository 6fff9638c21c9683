"""Which part of a GPU each engine takes, for machines and models that are not here."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import TandemError
from serving.config import ServingConfig
from serving.engine.model_files import ModelFiles
from serving.engine.sharing import ENGINE_BYTES, UTILIZATION, GpuShare, check_free_memory, share_gpus
from tests.serving.machines import (
    A10,
    AUTOSCALED,
    CPU,
    EIGHT_H100,
    GIB,
    H100,
    H200,
    HEAD_WITHOUT_GPUS,
    ONE_A10,
    ONE_H200,
    TWO_NODES,
    Gpu,
    Hardware,
    node,
)


def model(billions: float) -> ModelFiles:
    """A model in bfloat16 whose cache takes as much for each token as that of Llama 3 8B."""
    return ModelFiles(int(2e9 * billions), 131_072, 131_072, ("LlamaForCausalLM",), "bfloat16")


def models(*billions: float) -> dict[str, ModelFiles]:
    return {f"model-{number}": model(size) for number, size in enumerate(billions)}


@pytest.mark.parametrize("hardware", [CPU, ONE_A10, ONE_H200, EIGHT_H100, TWO_NODES, HEAD_WITHOUT_GPUS, AUTOSCALED])
def test_one_model_takes_whole_gpus_everywhere(hardware: Hardware) -> None:
    assert share_gpus(ServingConfig(), models(8), hardware) == {"model-0": GpuShare()}


def test_base_and_merged_model_share_one_gpu() -> None:
    """Full fine-tuning or DoRA of an 8B model on one H200, and of a 1B model on a 24 GB GPU."""
    for hardware, size in ((ONE_H200, 8), (ONE_A10, 1)):
        shares = share_gpus(ServingConfig(), models(size, size), hardware)
        assert [share.gpus for share in shares.values()] == [0.5, 0.5]
        assert [share.utilization for share in shares.values()] == [0.46, 0.46]


def test_a_large_model_gets_the_larger_part() -> None:
    large, small = share_gpus(ServingConfig(), models(32, 1), ONE_H200).values()
    assert large.gpus > small.gpus > 0 and large.gpus + small.gpus <= 1


def test_five_8b_models_share_an_h200() -> None:
    assert sum(share.gpus for share in share_gpus(ServingConfig(), models(*[8] * 5), ONE_H200).values()) <= 1


def test_enough_gpus_are_not_shared() -> None:
    assert set(share_gpus(ServingConfig(), models(8, 8, 8), EIGHT_H100).values()) == {GpuShare()}


def test_on_several_gpus_the_parts_are_equal() -> None:
    hardware = Hardware((node(H100, H100),))
    assert {share.gpus for share in share_gpus(ServingConfig(), models(8, 8, 1), hardware).values()} == {0.5}


@given(
    st.lists(st.floats(0.1, 40), min_size=1, max_size=8),
    st.sampled_from([A10, H100, H200]),
    st.integers(1, 4),
)
def test_what_is_planned_fits_and_what_does_not_is_refused(sizes: list[float], gpu: Gpu, number: int) -> None:
    served = models(*sizes)
    try:
        shares = share_gpus(ServingConfig(), served, Hardware((node(*[gpu] * number),)))
    except TandemError as error:
        assert "do not fit" in str(error)
        return
    assert shares.keys() == served.keys()
    if number == 1:
        assert sum(share.gpus for share in shares.values()) <= 1
        assert sum(share.utilization or UTILIZATION for share in shares.values()) <= UTILIZATION + 1e-9
    else:
        assert sum(1 / int(1 / share.gpus + 1e-9) for share in shares.values()) <= number + 1e-9
    for name, share in shares.items():
        held = (share.utilization or UTILIZATION) * gpu.memory_bytes
        beside = 0 if share.is_whole else ENGINE_BYTES
        # Shares are rounded down to what Ray and vLLM are given: 1e-4 of a GPU.
        assert (served[name].weights_bytes or 0) + beside <= held + 2e-4 * gpu.memory_bytes


@pytest.mark.parametrize(
    ("hardware", "sizes", "says"),
    [
        (ONE_A10, (8, 8), r"A10.*8\.\d|do not fit"),
        (ONE_A10, (32,), "do not fit"),
        (ONE_H200, (70, 70), "do not fit"),
        (ONE_H200, (70,), "do not fit"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_remedies(hardware: Hardware, sizes: tuple[float, ...], says: str) -> None:
    with pytest.raises(TandemError, match=says) as refused:
        share_gpus(ServingConfig(), models(*sizes), hardware)
    assert "method: lora" in str(refused.value) and "more GPUs" in str(refused.value)


def test_tensor_parallel_holds_a_model_that_one_gpu_does_not() -> None:
    config = ServingConfig(engine_kwargs={"tensor_parallel_size": 4})
    assert share_gpus(config, models(70), EIGHT_H100) == {"model-0": GpuShare()}
    with pytest.raises(TandemError, match="has 8 GPUs"):
        share_gpus(config, models(70, 70, 70), EIGHT_H100)


@pytest.mark.parametrize(
    ("sizes", "tensor", "holds", "lower"), [((6, 6), 4, 2, 2), ((3, 3), 2, 2, 1), ((5, 4), 3, 2, 1)]
)
def test_engines_that_no_nodes_can_hold_are_refused(
    sizes: tuple[int, ...], tensor: int, holds: int, lower: int
) -> None:
    hardware = Hardware(tuple(node(*[H100] * size) for size in sizes))
    config = ServingConfig(engine_kwargs={"tensor_parallel_size": tensor})
    share_gpus(config, models(*[1] * holds), hardware)
    with pytest.raises(TandemError, match=f"have room for {holds} of them.*engine takes {lower} GPU"):
        share_gpus(config, models(*[1] * (holds + 1)), hardware)
    # What an autoscaler adds may be nodes of another size.
    share_gpus(config, models(*[1] * (holds + 1)), replace(hardware, max_gpus=2**31))


def test_engines_share_no_gpu_of_unknown_memory() -> None:
    one_later = Hardware((node(),), max_gpus=1)
    assert share_gpus(ServingConfig(), models(8), one_later, reserved=0.25)["model-0"].gpus == 0.75
    with pytest.raises(TandemError, match="has 1 GPU"):
        share_gpus(ServingConfig(), models(1, 1), one_later)


def test_replicas_of_one_model_do_not_share() -> None:
    with pytest.raises(TandemError, match="2 replicas"):
        share_gpus(ServingConfig(num_replicas=2), models(1), ONE_H200)


def test_a_part_can_be_asked_for() -> None:
    config = ServingConfig(gpus_per_engine=0.25)
    assert share_gpus(config, models(1, 1), EIGHT_H100)["model-1"] == GpuShare(0.25, 0.23)
    assert share_gpus(config, models(1, 1), AUTOSCALED)["model-1"] == GpuShare(0.25, 0.23)
    with pytest.raises(TandemError, match=r"0\.6 of a GPU"):
        share_gpus(ServingConfig(gpus_per_engine=0.6), models(1, 1), ONE_H200)
    with pytest.raises(TandemError, match="spread over 2 GPUs"):
        share_gpus(ServingConfig(gpus_per_engine=0.5, engine_kwargs={"tensor_parallel_size": 2}), models(1), EIGHT_H100)


@pytest.mark.parametrize(("number", "sizes", "reserved"), [(1, (8,), 0.25), (1, (8, 1), 0.1), (2, (8, 8), 0.5)])
def test_what_other_deployments_take_is_left_to_them(number: int, sizes: tuple[float, ...], reserved: float) -> None:
    hardware = Hardware((node(*[H200] * number),))
    shares = list(share_gpus(ServingConfig(), models(*sizes), hardware, reserved).values())
    assert sum(share.gpus for share in shares) + reserved <= number
    for share in shares:
        assert share.utilization == pytest.approx(share.gpus * UTILIZATION, abs=1e-4)


def test_parts_and_what_others_take_fit_together() -> None:
    with pytest.raises(TandemError, match="has 2 GPUs"):
        share_gpus(ServingConfig(), models(1), Hardware((node(H200, H200),)), reserved=1.5)
    config = ServingConfig(gpus_per_engine=0.5)
    assert share_gpus(config, models(1), ONE_H200, reserved=0.5)["model-0"].gpus == 0.5
    for fewer in (config, ServingConfig(num_replicas=2)):
        with pytest.raises(TandemError, match="has 1 GPU"):
            share_gpus(fewer, models(1, 1), ONE_H200, reserved=0.25)


def test_a_lower_utilization_is_that_of_all_engines_together() -> None:
    config = ServingConfig(engine_kwargs={"gpu_memory_utilization": 0.8})
    assert [share.utilization for share in share_gpus(config, models(8, 8), ONE_H200).values()] == [0.4, 0.4]


def test_a_model_of_unknown_size_shares_only_where_its_part_is_said() -> None:
    unknown = {"a": ModelFiles(), "b": ModelFiles()}
    with pytest.raises(TandemError, match="gpus_per_engine"):
        share_gpus(ServingConfig(), unknown, ONE_H200)
    assert share_gpus(ServingConfig(gpus_per_engine=0.5), unknown, ONE_H200)["a"].gpus == 0.5
    assert share_gpus(ServingConfig(), {"a": ModelFiles()}, ONE_H200) == {"a": GpuShare()}


def test_weights_in_float32_files_are_served_in_half() -> None:
    files = replace(model(8), weights_bytes=int(32e9), dtype="float32")
    assert share_gpus(ServingConfig(), {"a": files}, ONE_A10) == {"a": GpuShare()}
    with pytest.raises(TandemError, match="do not fit"):
        share_gpus(ServingConfig(dtype="float32", adapters=False), {"a": files}, ONE_A10)


def test_a_gpu_that_others_use_is_refused_by_name() -> None:
    taken = Hardware((node(replace(H200, used_bytes=40 * GIB)),))
    with pytest.raises(TandemError, match=r"40\.0 GiB.*NVIDIA H200.*nvidia-smi"):
        check_free_memory(ServingConfig(), 1, taken)
    check_free_memory(ServingConfig(engine_kwargs={"gpu_memory_utilization": 0.6}), 1, taken)
    check_free_memory(ServingConfig(), 1, Hardware((node(replace(H100, used_bytes=40 * GIB), H100),)))
    for hardware in (CPU, ONE_H200, EIGHT_H100, AUTOSCALED):
        check_free_memory(ServingConfig(), 1, hardware)


@pytest.mark.parametrize(
    ("part", "num_engines", "used", "fits"),
    [
        (0.25, 1, (100,), True),  # 23 % of 141 GiB are 32.4 GiB
        (0.25, 2, (100,), False),
        (0.25, 2, (70,), True),
        (0.5, 2, (70, 70), False),  # Ray puts both on one GPU
        (0.5, 2, (70, 0), True),
        (0.5, 3, (70, 0), False),
        (0.5, 3, (0, 0), True),
        (1.0, 1, (20,), False),
    ],
)
def test_engines_with_a_part_of_a_gpu_need_their_parts_free(
    part: float, num_engines: int, used: tuple[int, ...], fits: bool
) -> None:
    hardware = Hardware((node(*[replace(H200, used_bytes=each * GIB) for each in used]),))
    for config, engines in (
        (ServingConfig(gpus_per_engine=part), num_engines),
        (ServingConfig(gpus_per_engine=part, num_replicas=num_engines), 1),
    ):
        if fits:
            check_free_memory(config, engines, hardware)
        else:
            with pytest.raises(TandemError, match="Other programs hold"):
                check_free_memory(config, engines, hardware)
