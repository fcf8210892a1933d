"""Files that appear whole or not at all: temporary name, flush, fsync, rename."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mert_backfill.errors import UserError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# what file systems answer that cannot do it, or do not let us: SMB, FUSE, exFAT
_REFUSED = {
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EBADF,
    errno.ENOTTY,
    errno.EPERM,
    errno.EACCES,
}
TEMPORARY_PREFIX = ".tmp-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"[a-z0-9_]{8}")
_OLD_S = 3600.0  # no file takes that long to be written


@contextmanager
def stop_if_disk_full(path: Path | str) -> Iterator[None]:
    """Turn a full disk or an exhausted quota into a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise UserError(
                f"{path}: the disk is full; free some space and run the same command again "
                "(nothing is lost, no track was marked as failed)"
            ) from error
        raise


def write_atomically(
    path: Path | str, write: Callable[[IO[bytes]], Any], *, like: os.stat_result | None = None
) -> None:
    """Let `write` fill a temporary file, then give it its final name.

    Parameters
    ----------
    path : Path or str
        The final name. Its folder is made if it does not exist.
    write : callable
        Called with the temporary file, open for binary writing; its ``name`` is a path.
    like : os.stat_result, optional
        A file whose mode and, as far as the system lets us, owner it gets; by default it is an
        ordinary file of whoever runs this.

    Raises
    ------
    UserError
        The disk is full. No partial file is left under either name.
    """
    path = Path(path)
    with stop_if_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            # by its name, so that `write` can tell it to a library that opens files itself
            with open(temporary, "wb", opener=lambda *_: handle) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files private; these are ordinary results
            _set_access(temporary, like)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process of ours has left in a folder.

    Only regular files with a name of ours, of our own user, that are over an hour old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) is None:
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                if is_ours and time.time() - status.st_mtime > _OLD_S:
                    os.unlink(entry.path)


def write_text(path: Path | str, text: str, *, like: os.stat_result | None = None) -> None:
    """Write `text` atomically as UTF-8; surrogate escapes become the raw bytes again."""
    data = text.encode("utf-8", "surrogateescape")
    write_atomically(path, lambda file: file.write(data), like=like)


def _set_access(path: str, like: os.stat_result | None) -> None:
    if like is None:
        set_mode(path, 0o666 & ~_UMASK)
        return
    if hasattr(os, "chown"):
        for owner in (like.st_uid, -1):  # the group alone may be ours to give
            with suppress(PermissionError):
                os.chown(path, owner, like.st_gid)
                break
    set_mode(path, stat.S_IMODE(like.st_mode))


def set_mode(path: str, mode: int) -> bool:
    """Give a file of ours its permissions, where the file system lets us.

    A mount that belongs to someone else gives all its files one mode; any other file that we made
    stays as private as `tempfile` made it.

    Returns
    -------
    bool
        Whether it was done.
    """
    try:
        os.chmod(path, mode)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        raise
    return True


def sync_folder(folder: Path) -> bool:
    """Flush a folder's entries, so that a rename survives a power cut.

    Returns
    -------
    bool
        Whether it was done: some file systems cannot. Then after a power cut a file may have its
        content of before, or be missing, but it is never half a file.
    """
    if os.name == "nt":  # folders cannot be opened there
        return False
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        raise
    return True


def _read_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _read_umask()  # read once: reading means setting it, which is not thread-safe
