"""The memory that torch frees on a CPU: kept for the next window, and kept in one piece."""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_INT_MAX = 2**31 - 1
# A window of the 330M shape needs some 12 kernels in bfloat16, and 8 in float32.
_KERNELS = "16"


def keep_freed_memory() -> None:
    """Let this process use the memory of one window again for the next.

    glibc gives blocks of more than 32 MiB back to the system as soon as they are free, and a
    40 s window frees some 5 GB of them: the system clears every page anew, which takes a tenth
    of the time in float32 and a fifth in bfloat16 (benchmarks/README.md). With this, freed
    memory stays in the heap.

    It can only be used again while nothing small lies in the middle of it. oneDNN keeps the
    kernels of its last 1,024 shapes there, and each length of window is a shape; so it is told
    to keep those of the last window only, unless ``ONEDNN_PRIMITIVE_CACHE_CAPACITY`` is set.

    To be called before the first convolution, when oneDNN reads that variable, and after the
    weights are loaded, whose copies had better go back to the system. Elsewhere than on glibc
    only the variable is set.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
