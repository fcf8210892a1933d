"""Which seconds of a track become windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mert_backfill.recipes import WindowName, WindowRule


@dataclass(frozen=True)
class Window:
    """A stretch of a track: the samples ``y[int(start_s * rate) : int(end_s * rate)]``.

    Times are in seconds from the start of the track.
    """

    name: WindowName
    start_s: float
    end_s: float


def find_windows(y: np.ndarray, rate: int, rule: WindowRule | None) -> list[Window]:
    """Return the windows of a track, in the order intro, core, late.

    Parameters
    ----------
    y : np.ndarray [shape=(n,), dtype=float32]
        The kept mono signal at its native rate.
    rate : int > 0
        Native sampling rate of `y` (in Hz).
    rule : WindowRule or None
        The recipe's; without one all that is kept is one window.

    Returns
    -------
    list of Window
        At least one. A track that is embedded whole, or whose windows are all too short to
        keep, has one window named ``core``.
    """
    length_s = len(y) / rate
    if rule is None:
        return [Window("core", 0.0, length_s)]
    if length_s < rule.whole_below:
        windows = [Window("core", 0.0, length_s)]
    else:
        windows = _three_windows(length_s, _first_sample_above(y, rule.loud) / rate, rule)
    kept = [window for window in windows if window.end_s - window.start_s > rule.longer_than]
    return kept or [Window("core", 0.0, min(length_s, rule.fallback))]


def _three_windows(length_s: float, intro_start: float, rule: WindowRule) -> list[Window]:
    core_s = rule.short_core if length_s < rule.long_from else rule.long_core
    core_start = max(0.0, length_s / 2 - core_s / 2)
    core_end = min(length_s, core_start + core_s)
    late_start = max(length_s - rule.late_from_end, core_end + rule.late_after_core)
    return [
        Window("intro", intro_start, min(length_s, intro_start + rule.intro)),
        Window("core", core_start, core_end),
        Window("late", late_start, length_s - rule.late_to_end),
    ]


def _first_sample_above(y: np.ndarray, loud: float) -> int:
    """Return the index of the first sample above the threshold, 0 when there is none."""
    return int(np.argmax(np.abs(y) > loud))
