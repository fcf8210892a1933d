"""Advisory locks on open files, which the kernel releases however their process ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mert_backfill.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: WSL2 is the supported way there
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}
_LOOKS, _LOOK_S = 5, 0.02


def open_lock(path: Path) -> IO[str]:
    """Open a file to be locked, at its end; it and its folder are made where they are missing.

    Raises
    ------
    UserError
        It is a link, which is not followed, or it cannot be written.
    """

    def without_links(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8", opener=without_links)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise link_refused(path) from error
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror}); free space there, or make the "
            "folder writable"
        ) from error


def link_refused(path: Path | str) -> UserError:
    """Return the refusal to write through a link that lies where a file of ours belongs."""
    return UserError(f"{path}: is a link, and nothing is written through it; remove it")


def lock_file(handle: int, path: Path, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file for as long as it stays open in this process.

    Parameters
    ----------
    handle : int
        The file's descriptor.
    path : Path
        Its path, for the warning that its file system has no locks.
    shared : bool
        Let others hold it too, if all of them share it.
    wait : bool
        Wait until nobody stands in the way.

    Returns
    -------
    bool
        False when somebody holds it; never with `wait`. True also where there are no locks,
        after a warning.
    """
    if fcntl is None:
        return True
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, operation if wait else operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            print(
                f"warning: {path}: this file system has no locks; make sure that no second run "
                "works here",
                file=sys.stderr,
            )
            return True
        if error.errno in _TAKEN:
            return False
        raise
    return True


def is_held(path: Path) -> bool | None:
    """Tell whether a process holds a file's lock; None where that cannot be known.

    Nothing is written, and whoever wants the lock is kept from it for microseconds at most: see
    `lock_file_soon`.
    """
    if fcntl is None:
        return None
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return True if error.errno in _TAKEN else None
    return False


def lock_file_soon(handle: int, path: Path) -> bool:
    """Do as `lock_file`, but give who only looks (`is_held`) the time to close the file."""
    for _ in range(_LOOKS):
        if lock_file(handle, path):
            return True
        time.sleep(_LOOK_S)
    return False


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, which is made where it is not there; waits for who holds it."""
    with open_lock(path) as lock:
        lock_file(lock.fileno(), path, wait=True)
        yield
