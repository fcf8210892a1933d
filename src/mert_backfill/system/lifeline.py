"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int) -> None:
    """Have this process killed as soon as its parent is gone, even by ``kill -9``.

    Linux only; elsewhere it does nothing, and the process has to notice the end of a pipe.
    The kernel's idea of a parent is the thread that started this process: the thread has to
    live as long as the process is needed.

    Parameters
    ----------
    parent_pid : int
        The parent as the parent itself knows it. It may have died before this call; then the
        process ends here.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
