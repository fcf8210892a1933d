"""What a track is in tune with: its pitch classes, and where they lie in tonal space.

Imported by a decoder only when it is first asked for: librosa costs it 1.6 s and 230 MiB.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import librosa
import numpy as np
from scipy.ndimage import median_filter

from mert_backfill.audio.decode import cut_windows, read_sound
from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.failures import Remark
from mert_backfill.recipes import Recipe

HOP = 512  # samples between two frames
# librosa's highest pitch is 4.1 kHz, and its filter reaches a little above; beyond the other end
# 120 s would take over 3 GiB
RATES = range(9_000, 192_000 + 1)  # Hz
SHORTEST = 2048  # samples: one frame of the harmonic part
_FILTER = 31  # frames, or frequencies: librosa's own
_ROWS = 64  # at a time, so that what is made on the way stays small


def prepare_with_harmony(path: str, recipe: Recipe) -> PreparedTrack:
    """Do what `mert_backfill.audio.decode.prepare_track` does, and tell the harmony too.

    Raises
    ------
    TrackError
        Whatever is wrong with the file.
    """
    sound = read_sound(path, recipe)
    prepared = cut_windows(sound, recipe)
    started = monotonic()
    harmony = find_harmony(sound.y, sound.rate)
    remark = Remark.NO_HARMONIC if np.isnan(harmony).any() else ""
    return replace(
        prepared,
        harmony=harmony,
        seconds_harmonic=monotonic() - started,
        remark=prepared.remark or remark,
    )


def find_harmony(y: np.ndarray, rate: int) -> np.ndarray:
    """Return the time means of chroma and tonnetz.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), dtype=float32]
        The kept mono signal at its native rate; finite.
    rate : int > 0
        Its rate (in Hz).

    Returns
    -------
    np.ndarray [shape=(18,), dtype=float32]
        12 values of chroma, not negative, that sum to 1, and 6 of the tonnetz of the harmonic part.
        All are NaN where librosa has none: at a rate that is not in `RATES`, below `SHORTEST`
        samples, or without any pitch.
    """
    none = np.full(18, np.nan, np.float32)
    if rate not in RATES or len(y) < SHORTEST:
        return none
    try:
        chroma = librosa.feature.chroma_cqt(y=y, sr=rate, hop_length=HOP).mean(axis=1, dtype=float)
        if not chroma.sum() > 0:
            return none
        tonnetz = librosa.feature.tonnetz(y=harmonic_part(y), sr=rate, hop_length=HOP).mean(axis=1)
    except librosa.ParameterError:  # such as numbers so large that their products are infinite
        return none
    harmony = np.concatenate([chroma / chroma.sum(), tonnetz]).astype(np.float32)
    return harmony if np.isfinite(harmony).all() else none


def harmonic_part(y: np.ndarray) -> np.ndarray:
    """Do what ``librosa.effects.harmonic`` does; a test compares the numbers.

    Of its time nine tenths go to medians over both directions of the spectrogram at once. One
    row after another scipy finds the same medians ten times as fast.
    """
    spectrum = librosa.stft(y)
    loudness = np.abs(spectrum)
    percussive = _medians(loudness.T).T
    harmonic = _medians(loudness)
    del loudness
    for start in range(0, len(spectrum), _ROWS):
        rows = slice(start, start + _ROWS)
        spectrum[rows] *= librosa.util.softmask(
            harmonic[rows], percussive[rows], power=2.0, split_zeros=True
        )
    return librosa.istft(spectrum, dtype=y.dtype, length=len(y))


def _medians(table: np.ndarray) -> np.ndarray:
    """Return the median of each number's neighbours in its row."""
    found = np.empty(table.shape, table.dtype)
    for row, numbers in enumerate(table):
        found[row] = median_filter(np.ascontiguousarray(numbers), size=_FILTER, mode="reflect")
    return found
