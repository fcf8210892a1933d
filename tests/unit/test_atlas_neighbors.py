"""The nearest tracks: exact, the same every time, and never NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mert_backfill.atlas import neighbors
from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.records.atlas import NEIGHBORS


def vectors_of(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5, 1, (count, dimension)).astype(np.float32)


def plain(vectors: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places and cosines by the definition, pair by pair."""
    exact = vectors.astype(np.float64)
    exact -= exact.mean(axis=0)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    cosines = np.round(exact @ exact.T, 6)
    order = np.array(
        [
            sorted((n for n in range(len(row)) if n != own), key=lambda n: (-row[n], n))[:width]
            for own, row in enumerate(cosines)
        ]
    )
    return order, np.take_along_axis(cosines, order, axis=1)


@pytest.mark.parametrize("block", [1, 333, 1 << 25])
def test_they_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbors, "_BLOCK_NUMBERS", block)
    vectors = vectors_of(120)
    places, cosines = plain(vectors, NEIGHBORS)
    take_mean(vectors)
    found = find_neighbors(vectors)
    assert found.recall is None
    assert np.abs(found.cosines - cosines).max() < 2e-6
    differ = found.places != places
    assert np.abs(np.diff(cosines, axis=1, prepend=2)[differ]).max(initial=0) < 2e-6


def test_of_equally_near_ones_the_first_comes_first() -> None:
    one, other = vectors_of(2)
    vectors = np.stack([one, other] * 100)
    take_mean(vectors)
    found = find_neighbors(vectors, 50)
    assert found.places[0].tolist() == list(range(2, 102, 2))
    assert found.places[199].tolist() == list(range(1, 100, 2))
    assert set(found.cosines.ravel()) == {1.0}


@pytest.mark.parametrize(("count", "width"), [(0, 0), (1, 0), (2, 1), (50, 49), (51, 50), (52, 50)])
def test_a_small_library_has_fewer(count: int, width: int) -> None:
    vectors = vectors_of(count)
    take_mean(vectors)
    found = find_neighbors(vectors)
    assert found.places.shape == found.cosines.shape == (count, width)
    assert all(own not in row and len({*row}) == width for own, row in enumerate(found.places))


def test_a_vector_that_equals_the_mean_has_the_cosine_zero() -> None:
    vectors = np.array([[1, 1], [3, 3], [2, 2]], np.float32)
    take_mean(vectors)
    found = find_neighbors(vectors)
    assert found.cosines.tolist() == [[0, -1], [0, -1], [0, 0]]
    same = np.full((5, 1024), 0.1, np.float32)  # whose mean is not exactly 0.1
    take_mean(same)
    assert not find_neighbors(same).cosines.any()


NUMBERS = st.floats(-60000, 60000, width=16)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 4)), elements=NUMBERS))
def test_whatever_the_vectors_cosines_are_numbers(vectors: np.ndarray) -> None:
    take_mean(vectors)
    found = find_neighbors(vectors, 3)
    assert np.isfinite(found.cosines).all()
    assert (np.abs(found.cosines) <= 1).all()
    assert (np.diff(found.cosines, axis=1) <= 0).all()


def test_above_the_limit_an_index_is_searched_and_its_recall_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("hnswlib")
    vectors = vectors_of(1500)
    take_mean(vectors)
    exact = find_neighbors(vectors, 10)
    with caplog.at_level("INFO"):
        found = find_neighbors(vectors, 10, exact_up_to=1000)
    assert found.recall is not None
    hits = np.mean([np.isin(a, b).mean() for a, b in zip(found.places, exact.places, strict=True)])
    assert found.recall == pytest.approx(hits, abs=0.01)
    assert found.recall > 0.95
    assert f"{100 * found.recall:.1f} %" in caplog.text
    assert all(own not in row for own, row in enumerate(found.places))


def test_without_hnswlib_all_pairs_are_compared_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(neighbors, "import_hnswlib", lambda: None)
    vectors = vectors_of(20)
    take_mean(vectors)
    found = find_neighbors(vectors, 5, exact_up_to=10)
    assert np.array_equal(found.places, find_neighbors(vectors, 5).places)
    assert "hnswlib is not installed" in caplog.text
