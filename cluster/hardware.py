"""What a machine's processor can compute with."""

from functools import cache
from pathlib import Path

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
