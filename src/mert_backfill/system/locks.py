"""Advisory locks on open files, which the kernel releases however their process ends."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: WSL2 is the supported way there
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}


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
