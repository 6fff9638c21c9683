"""Where an engine keeps what it compiles at its start, and how that outlives a pod.

vLLM, PyTorch, Triton and FlashInfer each keep compiled kernels in a folder. Here the four lie below one folder of this
machine, whose name holds the kind of GPU and the versions: vLLM's own names hold neither (`aot_compile_hash_factors`,
`gpu_p2p_access_cache_for_*`), so that an engine on another kind of GPU would load what does not run there.

A pod loses that folder with itself. Where TANDEM_COMPILED names a folder that outlives pods, an engine starts with the
archive that it holds, and what the engine compiled anew is added once it runs. It is an archive and no shared folder
because not all of the four may be written by several machines at once (vLLM writes `vllm_compile_cache.py` in place),
and because locks and thousands of small files are slow and doubtful on network storage. An archive is replaced as a
whole, so that a reader finds the old one or the new one.
"""

import hashlib
import logging
import os
import re
import tarfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.fingerprints.kept_digests import cache_root
from cluster.hardware import Gpu

SHARED = "TANDEM_COMPILED"
"""The environment variable that names the folder of archives."""
COPIED = "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY"
FOLDERS = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
}
QUIET_S = 10.0
"""A file that was written more recently may not be whole: it is kept the next time."""
MAX_BYTES = 4 * 2**30
"""An archive is not made larger than this; models and settings of long ago are in it too."""
_PACKAGES = ("vllm", "torch", "triton", "flashinfer-python", "nvidia-cuda-nvcc", "nvidia-cutlass-dsl")
# Which GPUs of one machine reach each other's memory; and what is being written.
_NOT_KEPT = re.compile(r"gpu_p2p_access_cache_for_|\.lock$|\.tmp$|/tmp\.pid_")
_log = logging.getLogger(__name__)


def cache_name(gpus: Sequence[Gpu], versions: Mapping[str, str]) -> str:
    """The folder's name for these GPUs and versions of packages: what is compiled for others is never found in it."""
    kinds = sorted({f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]}" for gpu in gpus}) or ["cpu"]
    text = "\n".join((*kinds, *(f"{name} {number}" for name, number in sorted(versions.items()))))
    words = re.sub("[^a-z0-9]+", "-", f"{kinds[0]} vllm {versions.get('vllm', 'none')}".lower()).strip("-")
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def package_versions() -> dict[str, str]:
    """The installed packages that compile kernels, or that are compiled."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cache_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that lead the four below `folder`, but for those that are set already.

    vLLM's executor for Ray copies them all to its workers. The older one (VLLM_USE_RAY_V2_EXECUTOR_BACKEND=0) copies
    vLLM's own, and of the others those that VLLM_RAY_EXTRA_ENV_VARS_TO_COPY names, beside the names that it held.
    """
    changes = {name: str(folder / part) for name, part in FOLDERS.items() if name not in environment}
    named = [name.strip() for name in environment.get(COPIED, "").split(",") if name.strip()]
    copied = [name for name in FOLDERS if not name.startswith("VLLM_")]
    return changes | {COPIED: ",".join(dict.fromkeys([*named, *copied]))}


class CompileCache:
    """The folder of this machine for these GPUs, and the archive of it where one is kept."""

    def __init__(self, name: str, caches: Path, shared: Path | None) -> None:
        """`caches` is the folder of this user's caches; `shared` outlives this machine."""
        self.folder = caches / "compiled" / name
        self._archive = shared / f"{name}.tar" if shared else None
        self._taken: set[str] = set()

    @classmethod
    def of(cls, gpus: Sequence[Gpu]) -> "CompileCache":
        """That of this process's environment."""
        shared = os.environ.get(SHARED)
        return cls(cache_name(gpus, package_versions()), cache_root(), Path(shared) if shared else None)

    def take(self) -> None:
        """Put what the archive holds into the folder, but for what is there already. An archive that cannot be read is
        as none: everything in it can be compiled again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._archive is None or not self._archive.exists():
            return
        try:
            with tarfile.open(self._archive) as archive:
                members = [each for each in archive.getmembers() if each.isfile()]
                for member in members:
                    if not (self.folder / member.name).exists():
                        _extract(archive, member, self.folder)
            self._taken = {member.name for member in members}
        except (OSError, tarfile.TarError) as error:
            _log.warning("Kernels are compiled again: %s cannot be read (%s).", self._archive, error)

    def keep(self) -> bool:
        """Add what was compiled since to the archive; whether there was anything. What fails here is only logged."""
        if self._archive is None:
            return False
        try:
            if not set(self._files()) - self._taken:
                return False
            self.take()  # what others have added meanwhile
            files = self._files()
            if sum((self.folder / name).stat().st_size for name in files) > MAX_BYTES:
                _log.warning("%s would be larger than %d GiB: delete it.", self._archive, MAX_BYTES // 2**30)
                return False
            self._write(files)
            self._taken = set(files)
        except (OSError, tarfile.TarError) as error:
            _log.warning("Compiled kernels were not kept in %s: %s.", self._archive, error)
            return False
        return True

    def _files(self) -> list[str]:
        """Names below the folder of what is kept."""
        newest = time.time() - QUIET_S
        paths = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = sorted(path.relative_to(self.folder).as_posix() for path in paths if path.stat().st_mtime <= newest)
        return [name for name in names if not _NOT_KEPT.search(name)]

    def _write(self, names: Iterable[str]) -> None:
        assert self._archive is not None
        self._archive.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._archive.with_name(f".{self._archive.name}-{uuid.uuid4().hex}")
        try:
            with tarfile.open(temporary, "w") as archive:
                for name in names:
                    archive.add(self.folder / name, name, recursive=False, filter=_in_whole_seconds)
            temporary.replace(self._archive)
        finally:
            temporary.unlink(missing_ok=True)


def _in_whole_seconds(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """ninja, which FlashInfer builds with, takes an object for stale that is a nanosecond younger than it has noted."""
    member.mtime = int(member.mtime)
    return member


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Into its place as a whole: another engine of this machine may be reading there."""
    temporary = folder / f".taken-{uuid.uuid4().hex}"
    try:
        archive.extract(member, temporary, filter="data")
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        (temporary / member.name).replace(target)
    finally:
        for path in sorted(temporary.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if temporary.exists():
            temporary.rmdir()
