from pathlib import Path

import pytest

from cluster.fingerprints.provenance import cpu_has_bf16


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("Features\t: fp asimd i8mm bf16", True),
        ("model name\t: a bf16 machine", False),
    ],
)
def test_what_the_kernel_says_of_the_processor(tmp_path: Path, line: str, has: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert cpu_has_bf16(tmp_path / "cpuinfo") is has


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert not cpu_has_bf16(tmp_path / "cpuinfo")
