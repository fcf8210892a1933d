"""Which seconds of a track the canonical profile embeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

WINDOW_NAMES = ("intro", "core", "late")
_LOUD = 1e-4  # |y| above this ends the leading silence
_WHOLE_BELOW_S = 80.0
_LONG_FROM_S = 140.0
_SHORT_CORE_S, _LONG_CORE_S = 40.0, 60.0
_INTRO_S = 10.0
_LATE_FROM_END_S, _LATE_TO_END_S = 15.0, 5.0
_LATE_GAP_S = 5.0  # between the end of core and the start of late
_MIN_WINDOW_S = 1.0
_FALLBACK_S = 10.0


@dataclass(frozen=True)
class Window:
    """A stretch of a track: the samples ``y[int(start_s * rate) : int(end_s * rate)]``.

    Times are in seconds from the start of the track.
    """

    name: Literal["intro", "core", "late"]
    start_s: float
    end_s: float


def canonical_windows(y: np.ndarray, rate: int) -> list[Window]:
    """Return the windows of the canonical profile, in the order intro, core, late.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), dtype=float32]
        The kept mono signal at its native rate: the first 120 s of the track at most.
    rate : int > 0
        Native sampling rate of `y` (in Hz).

    Returns
    -------
    list of Window
        At least one. A track that is embedded whole, or whose windows are all too short to
        keep, has one window named ``core``.
    """
    length_s = len(y) / rate
    if length_s < _WHOLE_BELOW_S:
        windows = [Window("core", 0.0, length_s)]
    else:
        windows = _three_windows(length_s, _first_loud_sample(y) / rate)
    kept = [window for window in windows if window.end_s - window.start_s > _MIN_WINDOW_S]
    return kept or [Window("core", 0.0, min(length_s, _FALLBACK_S))]


def _three_windows(length_s: float, intro_start: float) -> list[Window]:
    core_s = _SHORT_CORE_S if length_s < _LONG_FROM_S else _LONG_CORE_S
    core_start = max(0.0, length_s / 2 - core_s / 2)
    core_end = min(length_s, core_start + core_s)
    late_start = max(length_s - _LATE_FROM_END_S, core_end + _LATE_GAP_S)
    return [
        Window("intro", intro_start, min(length_s, intro_start + _INTRO_S)),
        Window("core", core_start, core_end),
        Window("late", late_start, length_s - _LATE_TO_END_S),
    ]


def _first_loud_sample(y: np.ndarray) -> int:
    """Return the index of the first sample above the threshold, 0 when there is none."""
    return int(np.argmax(np.abs(y) > _LOUD))
