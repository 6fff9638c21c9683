"""A kernel that Triton compiles; it reads a kernel's source from a file."""

import triton
import triton.language as tl


@triton.jit
def add(x, y, n, size: tl.constexpr):  # type: ignore[no-untyped-def]
    offsets = tl.program_id(0) * size + tl.arange(0, size)
    mask = offsets < n
    tl.store(y + offsets, tl.load(x + offsets, mask=mask).to(tl.float32) + 1.0, mask=mask)
