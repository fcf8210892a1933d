"""What both decoders offer: the sound of a file, block by block, and what the file says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from mert_backfill.audio.source import Source


class NoSoundError(Exception):
    """A file that the decoder knows, without an audio stream: a film, say."""


@dataclass
class Stream:
    """An audio file that a decoder has opened.

    Attributes
    ----------
    blocks : iterator of (np.ndarray [shape=(n, channels), dtype=float32], int)
        Samples in [-1, 1] and their rate (in Hz); both rate and channels may change on the way.
    says_s : float or None
        How long the file says that it is (in seconds), None where it is silent about it or the
        decoder has but guessed.
    decoded_bytes : int
        Bytes of the packets that became sound so far, 0 where the decoder does not tell.
    """

    blocks: Iterator[tuple[np.ndarray, int]]
    says_s: float | None = None
    decoded_bytes: int = 0


Decoder = Callable[[Source], AbstractContextManager[Stream]]
