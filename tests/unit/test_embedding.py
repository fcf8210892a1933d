"""A track's vector is the mean of its windows' vectors."""

from __future__ import annotations

import numpy as np

from mert_backfill.model.embedding import track_vector


def test_one_window_is_the_track() -> None:
    assert track_vector([np.array([0.5, -2.0], np.float32)]).tolist() == [0.5, -2.0]


def test_windows_count_alike_whatever_their_length() -> None:
    parts = [np.array(part, np.float32) for part in ([1, 0], [2, 0], [6, -3])]
    vector = track_vector(parts)
    assert vector.tolist() == [3.0, -1.0]
    assert vector.dtype == np.float16


def test_the_mean_is_rounded_once() -> None:
    """In float16 the sum of these would lose its last digits, or overflow."""
    fine = [np.float32(2048), np.float32(1), np.float32(1)]
    assert track_vector([np.array([x]) for x in fine]).tolist() == [float(np.float16(2050 / 3))]
    large = [np.array([60_000], np.float32)] * 3
    assert track_vector(large).tolist() == [float(np.float16(60_000))]
