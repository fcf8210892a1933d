"""What decoding leaves: the ready windows of a track, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mert_backfill.failures import TrackError
from mert_backfill.tags import Tags


@dataclass(frozen=True)
class PreparedTrack:
    """The ready windows of one track.

    Attributes
    ----------
    window_names : tuple of str
        Names of the windows: intro, core, late, as far as the track has them.
    windows : tuple of np.ndarray [shape=(n,), dtype=float32]
        Mono samples at 24 kHz, one array a window.
    duration_s : float
        Length kept (in seconds): at most 120.
    sample_rate : int
        Native sampling rate of the file (in Hz).
    pcm_sha256 : str
        Hash of the windows: equal for two files exactly when their windows are.
    remark : str
        What is odd about the sound, a `Remark`; mostly empty.
    tags : Tags
        Artist and title, as far as the file's tags have them.
    harmony : np.ndarray [shape=(18,), dtype=float32] or None
        See `mert_backfill.audio.harmony`; None where it was not asked for.
    seconds_harmonic : float or None
        What it took.
    """

    window_names: tuple[str, ...]
    windows: tuple[np.ndarray, ...]
    duration_s: float
    sample_rate: int
    pcm_sha256: str
    remark: str = ""
    tags: Tags = field(default_factory=Tags)
    harmony: np.ndarray | None = None
    seconds_harmonic: float | None = None


@dataclass(frozen=True)
class DecodeResult:
    """What became of one track: either `prepared` or `error` is None.

    `seconds` is the time from handing the track to a worker to having its answer, without that
    for its harmony.
    """

    track_id: str
    seconds: float
    prepared: PreparedTrack | None
    error: TrackError | None


class TrackDecoder(Protocol):
    """What decodes tracks in order to be embedded; see `mert_backfill.audio.pool`."""

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        """Yield the results of the tracks (id, path), in the order in which they are ready."""
        ...
