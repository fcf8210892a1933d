"""A way from one track to another, in small steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from mert_backfill.atlas.neighbors import round_cosines

_SHORTEST = 1e-6  # a step of no length would be none


def find_way(
    unit: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray, np.ndarray],
    ends: tuple[int, int],
    count: int,
    without: Collection[int] = (),
) -> list[int]:
    """Find a way of so many tracks, none of them twice.

    The shortest one from neighbour to neighbour, where two that are far apart count more than
    many that are near. A longer one is thinned out, a shorter one gets tracks that lie between
    its widest steps. Where no neighbours lead from one end to the other, the way follows the
    straight line between both.

    Parameters
    ----------
    unit : np.ndarray [shape=(n, D), dtype=float32]
        The vectors, the mean taken.
    steps : tuple of np.ndarray
        Which track is a neighbour of which, and its cosine.
    ends : (int, int)
        Where the way begins and ends.
    count : int > 1
        How many tracks it has, both ends among them; fewer where the library has no more.
    without : collection of int
        Tracks that are not taken.

    Returns
    -------
    list of int
        The places of the tracks.
    """
    free = np.ones(len(unit), bool)
    free[list(without)] = False
    free[list(ends)] = True
    way = _shortest(len(unit), steps, ends, free)
    if not way:
        return _straight(unit, ends, count, free)
    if len(way) > count:
        return [way[place] for place in np.linspace(0, len(way) - 1, count).round().astype(int)]
    return _filled(unit, way, count, free)


def _shortest(
    size: int,
    steps: tuple[np.ndarray, np.ndarray, np.ndarray],
    ends: tuple[int, int],
    free: np.ndarray,
) -> list[int]:
    """Return the way on which the sum of (1 - cosine) is least; nothing where there is none."""
    first, second, cosines = steps
    taken = free[first] & free[second]
    lengths = np.maximum(1 - cosines[taken].astype(np.float64), _SHORTEST)
    graph = csr_array((lengths, (first[taken], second[taken])), shape=(size, size))
    _, before = dijkstra(graph, directed=False, indices=ends[0], return_predecessors=True)
    way = [ends[1]]
    while way[-1] != ends[0]:
        if before[way[-1]] < 0:
            return []
        way.append(int(before[way[-1]]))
    return way[::-1]


def _filled(unit: np.ndarray, way: list[int], count: int, free: np.ndarray) -> list[int]:
    """Put tracks into the widest steps of a way until it has so many."""
    way = list(way)
    left = free.copy()
    left[way] = False
    while len(way) < count and left.any():
        near = [_cosines(unit, unit[place]) for place in way]
        widths = [near[place][way[place + 1]] for place in range(len(way) - 1)]
        widest = int(np.argmin(widths))
        between = np.minimum(near[widest], near[widest + 1])
        _take(way, widest + 1, between, left)
    return way


def _straight(unit: np.ndarray, ends: tuple[int, int], count: int, free: np.ndarray) -> list[int]:
    """Return the tracks nearest to points on the straight line between both ends."""
    way = [ends[0]]
    left = free.copy()
    left[list(ends)] = False
    for part in np.linspace(0, 1, count)[1:-1]:
        if left.any():
            point = (1 - part) * unit[ends[0]] + part * unit[ends[1]]
            _take(way, len(way), _cosines(unit, point), left)
    progress = _cosines(unit, unit[ends[1]]) - _cosines(unit, unit[ends[0]])
    return [ends[0], *sorted(way[1:], key=lambda place: (progress[place], place)), ends[1]]


def _take(way: list[int], at: int, nearness: np.ndarray, left: np.ndarray) -> None:
    """Put the nearest track that is left into a way; of equal ones the first."""
    best = int(np.argmax(np.where(left, nearness, -np.inf)))
    way.insert(at, best)
    left[best] = False


def _cosines(unit: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return round_cosines(unit @ direction)


def other_copies(groups: Iterable[Collection[int]], ends: Collection[int]) -> set[int]:
    """Return the tracks that a way passes over: of near-duplicates all but one.

    That one is the first of its group, or an end of the way.
    """
    found: set[int] = set()
    for group in groups:
        places = list(group)
        kept = {place for place in places if place in ends} or {places[0]}
        found.update(place for place in places if place not in kept)
    return found
