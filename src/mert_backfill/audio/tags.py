"""Artist and title from a file's tags, and what its header says, within limits of time and memory.

A tag may be compressed, or claim any number of parts. It is read in the process that decodes the
file; what is over the limits is not read, and the track is embedded all the same.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import mutagen

from mert_backfill.tags import Tags

MEMORY_LIMIT_BYTES = 256 << 20  # covers of tens of megabytes fit
TIME_LIMIT_S = 10.0
# a tag may hold megabytes; no artist or title needs more than this
_MAX_CHARACTERS = 1000
# the names that the formats with easy access use, and those of the ID3 chunk in WAV and AIFF
_FIELDS = {"artist": ("artist", "TPE1"), "title": ("title", "TIT2")}
# formats, as mutagen calls them, that keep every sample; MP4 may, too
_LOSSLESS = {
    "FLAC",
    "OggFLAC",
    "WAVE",
    "AIFF",
    "WavPack",
    "MonkeysAudio",
    "TrueAudio",
    "TAK",
    "DSF",
}
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has neither the flag nor the pipes


T = TypeVar("T")


@dataclass(frozen=True)
class FileFacts:
    """What a file's header says of it; None where it says nothing.

    Attributes
    ----------
    length_s : float or None
        How long it is (in seconds).
    sample_rate, bit_rate : int or None
        In Hz, and in bits per second.
    lossless : bool or None
        Whether its format keeps every sample.
    """

    length_s: float | None = None
    sample_rate: int | None = None
    bit_rate: int | None = None
    lossless: bool | None = None


def read_tags(path: str) -> Tags:
    """Read artist and title from a file's tags, within limits of memory and time.

    A file that is damaged, unreadable, gone or not regular has none, and tags that are too large
    or too slow count as none: a tag is never a reason to fail.

    Only the main thread of a process may call it.
    """
    return _within_limits(path, _tags, Tags(), easy=True)


def read_facts(path: str) -> FileFacts:
    """Read what a file's header says of it; see `read_tags` for limits and errors."""
    return _within_limits(path, _facts, FileFacts())


def _within_limits(path: str, told: Callable[[Any], T], nothing: T, **options: Any) -> T:
    try:
        with _limited_memory(), _limited_time():
            return _read_without_limits(path, told, nothing, **options)
    except TimeoutError:  # in the last moment, after the tags were read
        return nothing


def _read_without_limits(path: str, told: Callable[[Any], T], nothing: T, **options: Any) -> T:
    try:
        # without O_NONBLOCK a pipe that has taken the file's place would hold the job for ever
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return nothing
            return told(mutagen.File(file, **options))
    except Exception:  # mutagen raises nearly anything on a hostile file
        return nothing


def _tags(tags: Any) -> Tags:
    return Tags(**{field: _first(tags, names) for field, names in _FIELDS.items()})


def _facts(file: Any) -> FileFacts:
    if file is None:
        return FileFacts()
    name, codec = type(file).__name__, str(getattr(file.info, "codec", "")).lower()
    return FileFacts(
        length_s=_positive(file.info, "length", float),
        sample_rate=_positive(file.info, "sample_rate", int),
        bit_rate=_positive(file.info, "bitrate", int),
        lossless=name in _LOSSLESS or codec == "alac",
    )


def _positive(info: Any, name: str, kind: Callable[[Any], T]) -> T | None:
    value = getattr(info, name, None)
    known = isinstance(value, int | float) and 0 < value < float("inf")
    return kind(value) if known else None


@contextmanager
def _limited_time() -> Iterator[None]:
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    # again and again, should somebody on the way catch it and go on
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Cap what the process may take beyond what it has now."""
    if sys.platform != "linux":  # others have no such limit, or do not keep it
        yield
        return
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_LIMIT_BYTES
    limits = [known for known in (before, hard) if known != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([limit, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def _first(tags: Any, names: tuple[str, ...]) -> str | None:
    for name in names:
        for value in (tags or {}).get(name) or ():
            text = str(value).strip("\0 \t\r\n")
            if text:
                return text[:_MAX_CHARACTERS]
    return None
