"""The only file that imports DeepSpeed: its engine, its checkpoints, and whole weights out of shares.

python -m training.trainer.deepspeed_engine SOURCE TARGET PROCESSES    # convert_to_universal
"""

import logging
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from cluster.cuda_compiler import set_compiler
from cluster.errors import TandemError
from training.model.light_imports import import_uncompiled
from training.trainer.snapshots import Snapshot

_TAG = "state"
POSITION = "position"


def open_engine(model: Any, config: dict[str, Any], schedule: Callable[[int], float]) -> Any:
    """Put a DeepSpeed engine around a model; only what is trained gets optimizer state.

    The process group must be open (Ray Train opens it); gloo on CPU, NCCL on GPU.

    Args:
        schedule: the share of the peak learning rate at each step, from 0.

    Raises:
        TandemError: the optimizer's state is to lie in main memory or on a disk, and this node has not what DeepSpeed
            needs for it.
    """
    deepspeed = _import_deepspeed()
    place = config["zero_optimization"].get("offload_optimizer", {}).get("device")
    if place == "nvme":
        _check_nvme_offload()
    if place and not config["optimizer"]["params"].get("torch_adam"):
        _check_compiler()
    if config["zero_optimization"]["stage"] == 3:
        _gather_head_as_one(model)
    if config["optimizer"]["type"].lower() != "muon":
        import_uncompiled("deepspeed.runtime.zero.muon.original_muon")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=trained,
        config=config,
        lr_scheduler=lambda optimizer: LambdaLR(optimizer, schedule),
    )
    _keep_clipped_norm(deepspeed, engine)
    return engine


def _keep_clipped_norm(deepspeed: Any, engine: Any) -> None:
    """Let the engine know the norm that it clips by where DeepSpeed's own optimizers do not run (ZeRO 0 in fp32).

    DeepSpeed 0.19.8 computes it there and forgets it (engine.py, clip_fp32_gradients).
    """

    def clip() -> None:
        engine._global_grad_norm = deepspeed.runtime.utils.clip_grad_norm_(
            parameters=engine.module.parameters(), max_norm=engine.gradient_clipping(), mpu=engine.mpu
        )

    engine.clip_fp32_gradients = clip


@contextmanager
def sharded_loading(config: dict[str, Any]) -> Iterator[None]:
    """Load a model inside this, and with ZeRO-3 each worker keeps only its share of it from the start.

    The process group must be open. Below ZeRO-3 it changes nothing.
    """
    if config["zero_optimization"]["stage"] < 3:
        yield
        return
    _import_deepspeed().init_distributed(dist_backend=torch.distributed.get_backend())
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    # transformers looks here, through a weak reference, whenever it makes a model.
    settings = HfDeepSpeedConfig(config)
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        del settings


def save_state(engine: Any, folder: Path, position: dict[str, Any], budget_bytes: int) -> Snapshot:
    """Copy this worker's share of the training state and the place in the data; every worker must call it.

    The frozen weights stay out: they are those of the base model. Nothing of what is returned changes when the training
    continues.

    Args:
        folder: takes what does not fit into `budget_bytes` of main memory.
    """
    snapshot = Snapshot(folder, budget_bytes)
    engine.checkpoint_engine.save = snapshot.save
    try:
        engine.save_checkpoint(str(folder), tag=_TAG, client_state={POSITION: position}, exclude_frozen_parameters=True)
    finally:
        del engine.checkpoint_engine.save
    return snapshot


def load_state(engine: Any, folder: Path) -> dict[str, Any]:
    """Take up the state that `save_state` wrote, or `convert_to_universal` made of it; returns the place in the data.

    A converted state needs an engine whose configuration says `checkpoint.load_universal`.
    """
    loaded, state = engine.load_checkpoint(str(folder), tag=_TAG, load_module_strict=False)
    assert loaded is not None, f"no checkpoint in {folder}"
    if engine.load_universal_checkpoint():
        own_steps(engine.basic_optimizer)
    return dict(state[POSITION])


def own_steps(optimizer: torch.optim.Optimizer) -> None:
    """Give each parameter's state a step count of its own, on the device where the optimizer's kernel reads it.

    DeepSpeed 0.19.8 puts what it reads of a universal checkpoint into the state as it is (base_optimizer.py and
    stage3.py): a tensor in main memory, which torch's fused kernel reads as an address of the GPU, and with
    ZeRO-3 one tensor for all sub-groups, which is then counted up once for each of them in every step.
    """
    on_device = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for parameter, values in optimizer.state.items():
        if torch.is_tensor(step := values.get("step")):
            values["step"] = step.to(parameter.device if on_device else step.device, copy=True)


def convert_to_universal(source: Path, target: Path, num_processes: int = 1) -> None:
    """Make of a state that several workers saved one that any number of workers can load (a universal checkpoint).

    With more than one process the calling one is forked: it must have no threads and no GPU.
    """
    _import_deepspeed()
    from deepspeed.checkpoint.ds_to_universal import main

    main(
        Namespace(
            input_folder=str(source / _TAG), output_folder=str(target / _TAG), num_extract_workers=num_processes,
            num_merge_workers=num_processes, keep_temp_folder=False, strict=True, inject_missing_state=True,
        )
    )  # fmt: skip


def trained_weights(engine: Any, keep: bool = True) -> dict[str, torch.Tensor]:
    """Copies of the trained weights by name in main memory, whole whatever the ZeRO stage.

    Every worker must call it; one that does not `keep` them gets none.
    """
    state = {}
    for name, parameter in _trained_parameters(engine):
        with _gathered(engine, parameter):
            if keep:
                state[name] = parameter.detach().to("cpu", copy=True)
    return state


def set_trained_weights(engine: Any, state: dict[str, torch.Tensor] | None) -> None:
    """Put whole trained weights into the model, for use and not to train on; every worker must call it.

    Args:
        state: the weights by name, of the first worker alone, which sends them to the others; None elsewhere.
    """
    is_sharded = engine.zero_optimization_stage() == 3
    for name, parameter in _trained_parameters(engine):
        with _gathered(engine, parameter, changed_by=0), torch.no_grad():
            if state is not None:
                parameter.copy_(state[name])
            if not is_sharded:
                torch.distributed.broadcast(parameter.data, src=0)


def _trained_parameters(engine: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad)


@contextmanager
def _gathered(engine: Any, parameter: torch.nn.Parameter, changed_by: int | None = None) -> Iterator[None]:
    """Gather the shares of one parameter at a time, so that no device holds the whole model."""
    if engine.zero_optimization_stage() < 3:
        yield
        return
    with _import_deepspeed().zero.GatheredParameters([parameter], modifier_rank=changed_by):
        yield


def _gather_head_as_one(model: Any) -> None:
    """Let ZeRO-3 gather the output head with all that an adapter puts into it when the head is called.

    Otherwise each chunk of the loss would gather its parts, and ranks with other numbers of chunks wait for ever.
    """
    from deepspeed.utils import set_z3_leaf_module

    head = model.get_output_embeddings()
    if head is not None and any(head.children()):
        set_z3_leaf_module(head, True)


def _check_nvme_offload() -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise TandemError(
            "`offload: nvme` reads and writes asynchronously, which cannot be built on this node: libaio is missing.",
            "libaio with its headers, and a C++ compiler, on every node.",
            "Install libaio (Debian: libaio-dev), or set `training.offload: cpu`.",
        )


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise TandemError(
            f"The optimizer of offloaded state is compiled at first use, and this node has no {compiler}.",
            "A C++ compiler on every node (Debian: g++); or PyTorch's optimizer, which is several times slower.",
            "Install one, or set `training.deepspeed: {optimizer: {params: {torch_adam: true}}}`.",
        )


def _import_deepspeed() -> Any:
    set_compiler()  # for the operations that DeepSpeed compiles where they are first used
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed
    import deepspeed.ops

    if deepspeed.get_accelerator().device_name() == "cpu":
        # On CPU, DeepSpeed compiles (about 50 s) a shared-memory all-reduce that only its inference engine calls. Its
        # table of usable ops is the switch; writing it also saves the compiler runs that would fill it.
        vars(deepspeed.ops).setdefault("__compatible_ops__", {"deepspeed_shm_comm": False})
    return deepspeed


if __name__ == "__main__":
    convert_to_universal(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
