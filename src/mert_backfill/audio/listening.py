"""Listening to a decoder: its blocks become one mono signal of one rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from mert_backfill.audio.marks import refuse_compressed_pcm
from mert_backfill.audio.source import Source
from mert_backfill.audio.stream import Decoder
from mert_backfill.failures import TrackError

MAX_RATE = 1_000_000  # Hz; PCM ends at 768 kHz
MAX_DSD_RATE = 3_072_000  # Hz: that of DSD512 at 48 kHz, an eighth of its bits
_CANCELLED = 1e-3  # -60 dB


@dataclass(frozen=True)
class Heard:
    """What one decoder made of a file.

    Attributes
    ----------
    y : np.ndarray [shape=(n,), dtype=float32]
        The sound in mono, from its start, as much as was wanted or as there was.
    rate : int
        Its rate (in Hz), 0 when there is no sound.
    is_all : bool
        As much as was wanted.
    cancels : bool
        There was sound, but its channels are each other's opposite: their mean is 60 dB below
        them.
    says_s : float or None
        How long the file is (in seconds) by what the decoder knows of it.
    unread_bytes : int
        What the decoder left of the file.
    decoded_bytes : int
        See `mert_backfill.audio.stream.Stream`.
    error : Exception or None
        What ended it.
    """

    y: np.ndarray
    rate: int
    is_all: bool
    cancels: bool
    says_s: float | None
    unread_bytes: int
    decoded_bytes: int
    error: Exception | None

    @property
    def seconds(self) -> float:
        """Length of the sound (in seconds)."""
        return len(self.y) / self.rate if self.rate else 0.0


def listen(decoder: Decoder, source: Source, kept_seconds: int, max_rate: int) -> Heard:
    """Decode the first seconds of a file, or what comes before the damage.

    Parameters
    ----------
    decoder : callable
        Opens the source.
    source : Source
        The file; it is read from its start.
    kept_seconds : int > 0
        How much is wanted (in seconds).
    max_rate : int > 0
        The highest rate that is believed (in Hz).

    Raises
    ------
    TrackError
        A read failed, or the samples are a compressed stream.
    MemoryError
        It takes more than there is.
    """
    source.seek(0)
    mono = _Mono(kept_seconds, max_rate)
    says_s, decoded_bytes, error = None, 0, None
    try:
        with decoder(source) as stream:
            says_s = stream.says_s
            try:
                mono.take(stream.blocks)
            finally:
                decoded_bytes = stream.decoded_bytes
    except (MemoryError, TrackError):
        raise
    except Exception as caught:  # the libraries raise more than they document
        error = caught
    source.check()
    y = mono.finish()
    return Heard(
        y=y,
        rate=mono.rate,
        is_all=mono.is_full,
        cancels=mono.cancels(y),
        says_s=says_s,
        unread_bytes=max(0, source.size - source.tell()),
        decoded_bytes=decoded_bytes,
        error=error,
    )


class _Mono:
    """Blocks of any rate and any number of channels, joined to one signal.

    The first block's rate is that of all: what follows with another one is resampled.
    """

    def __init__(self, kept_seconds: int, max_rate: int) -> None:
        self.rate = 0
        self.is_full = False
        self._kept_seconds = kept_seconds
        self._max_rate = max_rate
        self._parts: list[np.ndarray] = []
        self._kept = 0
        self._rate_now = 0
        self._resampler: soxr.ResampleStream | None = None
        self._power = 0.0  # mean over the channels, summed over time
        self._is_looked_at = False

    def take(self, blocks: Iterator[tuple[np.ndarray, int]]) -> None:
        """Take blocks until there is enough."""
        for block, rate in blocks:
            if not 0 < rate <= self._max_rate:  # 120 s of it could be any amount of memory
                raise ValueError(f"a sampling rate of {rate} Hz")
            if rate != self._rate_now:
                self._change_rate(rate)
            if not self._is_looked_at and block.any():
                refuse_compressed_pcm(block)
                self._is_looked_at = True
            if self._resampler is None:
                block = block[: self._missing]
            flat = block.ravel(order="K")  # as it lies in memory: no copy
            self._power += float(np.vdot(flat, flat)) / block.shape[1]
            mono = _mean(block)
            self._add(mono if self._resampler is None else self._resampler.resample_chunk(mono))
            if self.is_full:
                return

    def finish(self) -> np.ndarray:
        """Return the signal [shape=(n,)]."""
        self._flush()
        parts, self._parts = self._parts, []
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def cancels(self, y: np.ndarray) -> bool:
        """Tell whether the finished signal is 60 dB below the channels that it is made of."""
        is_loud = 0 < self._power < math.inf
        return is_loud and float(np.vdot(y, y)) <= _CANCELLED**2 * self._power

    @property
    def _missing(self) -> int:
        return self._kept_seconds * self.rate - self._kept

    def _change_rate(self, rate: int) -> None:
        self._flush()
        if not self.rate:  # 120 s of DSD at its own rate are a gigabyte, of which none is heard
            self.rate = rate // -(-rate // MAX_RATE)
        self._rate_now = rate
        if rate != self.rate:
            self._resampler = soxr.ResampleStream(rate, self.rate, 1, quality="HQ")

    def _flush(self) -> None:
        if self._resampler is not None:
            rest = np.zeros(0, np.float32)
            self._add(self._resampler.resample_chunk(rest, last=True))
            self._resampler = None

    def _add(self, mono: np.ndarray) -> None:
        self._parts.append(mono[: self._missing])
        self._kept += len(self._parts[-1])
        self.is_full = self._missing <= 0


def _mean(block: np.ndarray) -> np.ndarray:
    """Average the channels of a block [shape=(n, channels)]."""
    if block.shape[1] == 2:  # the same numbers as np.mean, four times faster
        return (block[:, 0] + block[:, 1]) / 2
    return block.mean(axis=1)
