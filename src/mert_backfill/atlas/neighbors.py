"""The nearest tracks of each track, by the cosine of vectors from which their mean was taken.

All vectors of a library share a large part, which hides how far they are apart: it is taken off.
"""

from __future__ import annotations

import logging

import numpy as np

from mert_backfill.atlas.index import import_hnswlib
from mert_backfill.records.atlas import NEIGHBORS, Neighbors

logger = logging.getLogger(__name__)

EXACT_UP_TO = 200_000  # tracks
_BLOCK_NUMBERS = 1 << 25  # 128 MiB of cosines at a time
_BLOCK_ROWS = 4096
_DIGITS = 6  # what float32 leaves of a cosine: equal vectors get equal ones, wherever they stand
_NOTHING = 1e-6  # what is left of a vector that equals the mean is rounding
_SEARCH_WIDTH = 200
_SAMPLE = 1_000


def take_mean(vectors: np.ndarray) -> None:
    """Take the mean from vectors, and give each the length 1, in place.

    One that equals the mean becomes zero: it has the cosine 0 to all.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, D), dtype=float32]
        The vectors.
    """
    if not len(vectors):
        return
    before = _lengths(vectors)
    vectors -= vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = _lengths(vectors)
    nothing = length <= _NOTHING * before
    vectors[nothing] = 0
    length[nothing] = 1
    vectors /= length[:, None]


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Return the length of each, without a second matrix of their size."""
    blocks = range(0, len(vectors), _BLOCK_ROWS)
    return np.concatenate(
        [np.linalg.norm(vectors[start : start + _BLOCK_ROWS], axis=1) for start in blocks]
    )


def round_cosines(cosines: np.ndarray) -> np.ndarray:
    """Return cosines without what rounding has made of them [dtype=float64]."""
    return np.clip(np.round(cosines.astype(np.float64), _DIGITS), -1, 1) + 0.0  # no -0.0


def find_neighbors(
    unit: np.ndarray,
    count: int = NEIGHBORS,
    exact_up_to: int = EXACT_UP_TO,
    threads: int = 1,
) -> Neighbors:
    """Find the nearest tracks of each.

    Parameters
    ----------
    unit : np.ndarray [shape=(n, D), dtype=float32]
        Vectors as `take_mean` leaves them.
    count : int > 0
        How many; fewer where there are no more tracks. Of equally near ones those that stand
        first.
    exact_up_to : int
        Above so many vectors they are searched in an index of hnswlib, which misses some.
    threads : int > 0
        How many threads build that index and search it.
    """
    width = min(count, max(0, len(unit) - 1))
    if len(unit) > exact_up_to:
        if import_hnswlib() is not None:
            return _search(unit, width, threads)
        logger.warning("hnswlib is not installed: all pairs of %d tracks are compared", len(unit))
    found = Neighbors(
        np.empty((len(unit), width), np.int32), np.empty((len(unit), width), np.float32)
    )
    if width:
        step = max(1, _BLOCK_NUMBERS // len(unit))
        for start in range(0, len(unit), step):
            _compare(unit, np.arange(start, min(start + step, len(unit))), found, start)
    return found


def _compare(unit: np.ndarray, rows: np.ndarray, found: Neighbors, start: int) -> None:
    """Fill in the neighbours of some rows, by comparing them with all."""
    width = found.places.shape[1]
    cosines = unit[rows] @ unit.T
    for place, (own, row) in enumerate(zip(rows, cosines, strict=True), start):
        row[own] = -np.inf
        # a little more than asked for: which of them are equal is known after rounding
        least = np.partition(row, -width)[-width] - 2 * 10.0**-_DIGITS
        near = np.flatnonzero(row >= least)
        found.places[place], found.cosines[place] = _nearest(near, row[near], width)


def _nearest(places: np.ndarray, cosines: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    rounded = round_cosines(cosines)
    order = np.lexsort((places, -rounded))[:width]
    return places[order], rounded[order]


def _search(unit: np.ndarray, width: int, threads: int) -> Neighbors:
    hnswlib = import_hnswlib()
    index = hnswlib.Index(space="ip", dim=unit.shape[1])
    index.init_index(len(unit), M=32, ef_construction=200)
    index.set_num_threads(threads)
    index.add_items(unit)
    index.set_ef(max(_SEARCH_WIDTH, 2 * width))
    found = Neighbors(
        np.empty((len(unit), width), np.int32), np.empty((len(unit), width), np.float32)
    )
    for start in range(0, len(unit), _SAMPLE):
        labels, distances = index.knn_query(unit[start : start + _SAMPLE], width + 1)
        for place, (near, far) in enumerate(zip(labels, distances, strict=True), start):
            others = near != place
            best = _nearest(near[others].astype(np.int64), 1 - far[others], width)
            found.places[place], found.cosines[place] = best
    recall = _recall(unit, found)
    logger.info("of the true neighbours %.1f %% were found, on a sample", 100 * recall)
    return Neighbors(found.places, found.cosines, recall)


def _recall(unit: np.ndarray, found: Neighbors) -> float:
    """Return how many of the true neighbours were found, of tracks spread over the library."""
    rows = np.unique(np.linspace(0, len(unit) - 1, _SAMPLE).astype(np.int64))
    width = found.places.shape[1]
    true = Neighbors(
        np.empty((len(rows), width), np.int32), np.empty((len(rows), width), np.float32)
    )
    step = max(1, _BLOCK_NUMBERS // len(unit))
    for start in range(0, len(rows), step):
        _compare(unit, rows[start : start + step], true, start)
    hits = sum(
        np.isin(found.places[row], true.places[place]).sum() for place, row in enumerate(rows)
    )
    return float(hits / true.places.size)
