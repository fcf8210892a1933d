"""A file as the decoders see it: opened once, without its name, its read errors kept."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mert_backfill.errors import one_line
from mert_backfill.failures import Reason, Stage, TrackError

_BUFFER_BYTES = 1 << 16
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO put in the file's place must not hang the open
    | getattr(os, "O_BINARY", 0)
)
_REASON_OF_ERRNO: Mapping[int, Reason] = MappingProxyType(
    {
        errno.ENOENT: Reason.FILE_MISSING,
        errno.ENOTDIR: Reason.FILE_MISSING,
        errno.ELOOP: Reason.FILE_MISSING,
        errno.ENAMETOOLONG: Reason.FILE_MISSING,
        errno.EACCES: Reason.PERMISSION_DENIED,
        errno.EPERM: Reason.PERMISSION_DENIED,
        errno.ENOMEM: Reason.OUT_OF_MEMORY,
    }
)


class RawFile(io.FileIO):
    """A file whose read errors are kept for later.

    Errors cannot pass through the C callbacks of the decoders, so a failing read looks like
    the end of the file to them.
    """

    error: OSError | None = None

    def readinto(self, buffer: Any, /) -> int | None:
        """Read into a buffer; what cannot be read looks like the end of the file."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.error = error
            return 0


class Source(io.BufferedReader):
    """An open audio file, buffered, since decoders read a few bytes at a time.

    All places are counted from where the audio begins: see `skip`.
    """

    def __init__(self, handle: int) -> None:
        self._file = RawFile(handle)
        self._file.name = "audio"  # decoders and their messages need no more, and no less
        self._start = 0
        super().__init__(self._file, _BUFFER_BYTES)

    @property
    def size(self) -> int:
        """Bytes from where the audio begins to the end of the file."""
        return os.fstat(self.fileno()).st_size - self._start

    def skip(self, count: int) -> None:
        """Let the audio begin `count` bytes later: what was before does not exist any more."""
        self._start += count
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place and return it; -1 where there is no such place."""
        if whence == os.SEEK_SET:
            if offset < 0:
                return -1
            offset += self._start
        try:
            return super().seek(offset, whence) - self._start
        except OSError as error:
            if error.errno != errno.EINVAL:  # that is a place before the start: a damaged file
                self._file.error = error
            return -1

    def tell(self) -> int:
        """Return the place of the next byte."""
        return super().tell() - self._start

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on; fewer or none behind the end."""
        self.seek(offset)
        return self.read(count)

    def check(self) -> None:
        """Raise the `TrackError` of a read that failed, if one did."""
        if self._file.error is not None:
            raise _os_error("decode", self._file.error) from self._file.error


def open_source(path: str) -> Source:
    """Open a regular file that is not empty.

    Raises
    ------
    TrackError
        Stage stat: there is no such file, it is none, it is empty, or it cannot be opened.
    """
    try:
        # looked at before it is opened: to open some devices is to set them in motion
        _check_status(os.stat(path))
        source = Source(os.open(path, _OPEN_FLAGS))
    except OSError as error:
        raise _os_error("stat", error) from error
    except ValueError as error:  # a NUL in the name
        raise TrackError("stat", Reason.FILE_MISSING, one_line(error)) from error
    try:
        _check_status(os.fstat(source.fileno()))  # it may have been replaced in between
    except TrackError:
        source.close()
        raise
    return source


def _check_status(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TrackError("stat", Reason.FILE_MISSING, "not a regular file")
    if status.st_size == 0:
        raise TrackError("stat", Reason.EMPTY_FILE, "the file has no content")


def _os_error(stage: Stage, error: OSError) -> TrackError:
    reason = _REASON_OF_ERRNO.get(error.errno or 0, Reason.IO_ERROR)
    return TrackError(stage, reason, one_line(error))
