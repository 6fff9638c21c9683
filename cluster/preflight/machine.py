"""All checks of one machine, with what they need to know."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cluster.preflight import base_model, disk_space, gpu, ports, rdma, storage, versions
from cluster.preflight.finding import Finding, run_checks

Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class MachineNeeds:
    """What a project needs of a machine.

    Args:
        versions: the tested version of each pinned distribution.
        storage: a folder; None where there is none.
        buckets: URLs of object stores.
        models: base models: absolute folders or hub ids.
        ports: host and port by the name of the setting.
        num_gpus: GPUs that Ray offers on it.
        more: further checks by name; they can be pickled.
    """

    versions: Mapping[str, str]
    storage: Path | None = None
    buckets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ports: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    num_gpus: int = 0
    more: Mapping[str, Check] = field(default_factory=dict)


def check_machine(needs: MachineNeeds) -> list[Finding]:
    """Every check of this machine; what goes wrong with one of them is a finding."""
    checks: dict[str, Check] = {
        "versions": partial(versions.check_versions, needs.versions),
        "gpu": partial(gpu.check_gpus, needs.num_gpus),
        "rdma": partial(rdma.check_rdma, needs.num_gpus),
        "disk": partial(disk_space.check_disk_space, needs.storage),
        "port": partial(ports.check_port, needs.ports),
    }
    if needs.storage:
        checks["storage"] = partial(storage.check_folder, needs.storage)
    checks |= {f"storage {url}": partial(storage.check_bucket, url) for url in needs.buckets}
    checks |= {f"model {name}": partial(base_model.check_base_model, name) for name in needs.models}
    return list(run_checks({**checks, **needs.more}))
