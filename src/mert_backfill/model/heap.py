"""The memory that torch frees on a CPU: kept for the next window, and kept in one piece."""

from __future__ import annotations

import ctypes
import os
import platform

from mert_backfill.model.kernel_choice import PLAIN, Kernels, Way

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_INT_MAX = 2**31 - 1
# Of shapes, in bfloat16: nearly as fast as 1,024; none costs 1 s a window of 40 s, and 64 leave
# larger holes. In float32 none is as fast as 1,024 (benchmarks/README.md).
_BFLOAT16_KERNELS = "16"
# Attention by oneDNN has eight shapes of its own, which are used all the time and stay, beside
# those of the convolutions of one window. 24 let the heap grow by 700 MiB more.
_ATTENTION_KERNELS = "16"


def keep_few_kernels(precision: str, kernels: Kernels = PLAIN) -> None:
    """Keep oneDNN's kernels, of this process, from piling up in the middle of the heap.

    It keeps those of the last 1,024 shapes, and each length of window is a shape: freed memory
    between them cannot become one piece again. To be called before the first convolution, when
    oneDNN reads ``ONEDNN_PRIMITIVE_CACHE_CAPACITY``; where that is set, it stays as it is.

    Parameters
    ----------
    precision : str
        What most of the process's work is done in.
    kernels : Kernels
        What computes the heavy parts.
    """
    if kernels.attention is Way.ONEDNN:
        kept = _ATTENTION_KERNELS
    else:
        kept = _BFLOAT16_KERNELS if precision == "bfloat16" else "0"
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kept)


def keep_freed_memory() -> None:
    """Let this process use the memory of one window again for the next.

    glibc gives blocks of more than 32 MiB back to the system as soon as they are free, and a
    40 s window frees some 6 GB of them: the system clears every page anew, which takes a tenth
    of the time in float32 and a fifth in bfloat16. With this, freed memory stays in the heap.

    To be called after the weights are loaded, whose copies had better go back to the system.
    Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
