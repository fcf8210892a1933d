from __future__ import annotations

import numpy as np
import pytest

from mert_backfill.audio.windows import Window, find_windows
from mert_backfill.recipes import CANONICAL

RATE = 1000


def signal(seconds: float, silence_s: float = 0.0, rate: int = RATE) -> np.ndarray:
    y = np.full(round(seconds * rate), 0.5, dtype=np.float32)
    y[: round(silence_s * rate)] = 0
    return y


@pytest.mark.parametrize(
    ("seconds", "silence_s", "expected"),
    [
        (0.5, 0.0, [("core", 0, 0.5)]),
        (1.0, 0.0, [("core", 0, 1)]),
        (3.0, 1.0, [("core", 0, 3)]),
        (79.9, 5.0, [("core", 0, 79.9)]),
        (80.0, 2.5, [("intro", 2.5, 12.5), ("core", 20, 60), ("late", 65, 75)]),
        (119.0, 0.0, [("intro", 0, 10), ("core", 39.5, 79.5), ("late", 104, 114)]),
        (120.0, 7.25, [("intro", 7.25, 17.25), ("core", 40, 80), ("late", 105, 115)]),
        (120.0, 115.0, [("intro", 115, 120), ("core", 40, 80), ("late", 105, 115)]),
        (120.0, 119.0, [("core", 40, 80), ("late", 105, 115)]),
        (139.0, 0.0, [("intro", 0, 10), ("core", 49.5, 89.5), ("late", 124, 134)]),
        (140.0, 1.0, [("intro", 1, 11), ("core", 40, 100), ("late", 125, 135)]),
        (400.0, 0.0, [("intro", 0, 10), ("core", 170, 230), ("late", 385, 395)]),
    ],
)
def test_windows_by_hand(
    seconds: float, silence_s: float, expected: list[tuple[str, float, float]]
) -> None:
    found = find_windows(signal(seconds, silence_s), RATE, CANONICAL.windows)
    assert [(w.name, w.start_s, w.end_s) for w in found] == expected


def test_intro_starts_at_the_first_sample_above_the_threshold() -> None:
    y = np.zeros(100 * RATE, dtype=np.float32)
    y[3000], y[4000] = 1e-4, -2e-4
    assert find_windows(y, RATE, CANONICAL.windows)[0] == Window("intro", 4.0, 14.0)


def test_intro_of_a_track_below_the_threshold_starts_at_its_start() -> None:
    y = np.full(100 * RATE, 5e-5, dtype=np.float32)
    assert find_windows(y, RATE, CANONICAL.windows)[0] == Window("intro", 0.0, 10.0)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_windows_lie_within_the_track_at_any_rate(rate: int) -> None:
    y = signal(100.37, 93.1, rate)
    for window in find_windows(y, rate, CANONICAL.windows):
        assert 0 <= window.start_s < window.end_s <= len(y) / rate
        assert window.end_s - window.start_s > 1
