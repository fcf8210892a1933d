"""libsndfile: the first decoder (wav, flac, mp3, ogg, opus, aiff, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile

from mert_backfill.audio.source import Source
from mert_backfill.audio.stream import Stream

_BLOCK_FRAMES = 1 << 16
_NO_MEMORY = 17  # libsndfile's SFE_MALLOC_FAILED
_LONGEST_S = 1e7  # of a chained Ogg it says ages, of a stream without a length 2**63 samples


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start on.

    soundfile seeks after each read of a seekable file. The mp3 decoder then starts anew, and
    its samples are not those of an uninterrupted one.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def open_with_libsndfile(source: Source) -> Iterator[Stream]:
    """Open a file with libsndfile.

    Raises
    ------
    MemoryError
        libsndfile got no memory.
    soundfile.LibsndfileError
        It cannot read this.
    """
    try:
        with _ForwardFile(source) as sound:
            yield Stream(_blocks(sound), _length(sound))
    except soundfile.LibsndfileError as error:
        if error.code == _NO_MEMORY:
            raise MemoryError(str(error)) from error
        raise


def _blocks(sound: soundfile.SoundFile) -> Iterator[tuple[np.ndarray, int]]:
    while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        yield block, sound.samplerate


def _length(sound: soundfile.SoundFile) -> float | None:
    if "MPEG" in sound.subtype:  # counted by a tag that may lie, or guessed from the first frame
        return None
    length_s = sound.frames / max(1, sound.samplerate)
    return length_s if 0 < length_s < _LONGEST_S else None
