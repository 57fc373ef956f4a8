"""What code may use of this processor."""

from __future__ import annotations

import llvmlite.binding as llvm
from numba import config


def features() -> str:
    """What LLVM may use of this processor, as Numba's own configuration says it."""
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    return "" if config.CPU_NAME == "generic" else str(llvm.get_host_cpu_features().flatten())


def target() -> str:
    """LLVM's name of the processor and the features that code may use."""
    name = config.CPU_NAME or llvm.get_host_cpu_name()
    return f"{name} {features()}"


def form() -> str:
    """Which of the three forms the kernels have on this processor: avx512, avx2 or plain."""
    found = features().split(",")
    if "+avx512f" in found and "+avx512vl" in found:
        return "avx512"
    return "avx2" if "+avx2" in found else "plain"


def has_fused() -> bool:
    """Whether code may use fused multiply-add; every processor but old x86 has it."""
    machine = llvm.get_process_triple().split("-")[0]
    return machine not in ("x86_64", "i386", "i686") or "+fma" in features().split(",")
