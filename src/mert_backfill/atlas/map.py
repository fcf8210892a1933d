"""The map of the library: a place for each track, so that what sounds alike lies together.

UMAP draws it from the neighbours in ``neighbors.parquet``, so that the nearest of a track are those
that the list names; it begins with the two main directions of the 50 that PCA keeps. The same
vectors give the same map: one thread, a fixed seed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mert_backfill.records.atlas import Neighbors

FEW = 15  # tracks; fewer have no neighbourhoods to draw
_SPARSE = 500  # tracks
_COMPONENTS = 50
_NEIGHBORS = 15  # a track itself among them
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


def place_tracks(unit: np.ndarray, neighbors: Neighbors) -> np.ndarray:
    """Return where each track lies on the map.

    Parameters
    ----------
    unit : np.ndarray [shape=(n, D), dtype=float32]
        The vectors: their mean taken, each of length 1.
    neighbors : Neighbors
        The nearest of each.

    Returns
    -------
    np.ndarray [shape=(n, 2), dtype=float32]
        x and y.
    """
    parts = _main_parts(unit)
    if len(unit) < FEW:
        return parts[:, :2]
    with warnings.catch_warnings():
        # of what it cannot do without an index: to place tracks that it has not seen
        warnings.simplefilter("ignore")
        from umap import UMAP  # takes seconds to import

        own = np.arange(len(unit), dtype=np.int32)[:, None]
        width = _NEIGHBORS - 1
        near = np.hstack([own, neighbors.places[:, :width]])
        far = np.clip(1 - neighbors.cosines[:, :width], 0, 2)
        # a few points need more room, or each group is one blot
        spread, least = (2.0, 2.0) if len(unit) < _SPARSE else (1.0, 0.1)
        drawing = UMAP(
            n_neighbors=_NEIGHBORS,
            spread=spread,
            min_dist=least,
            init="pca",
            random_state=0,
            n_jobs=1,
            precomputed_knn=(near, np.hstack([np.zeros_like(far[:, :1]), far]), None),
        )
        places = drawing.fit_transform(parts)
    return np.asarray(places, np.float32)


def year_of(row: Mapping[str, Any]) -> int | None:
    """Return the year that a row of meta.json names, if any."""
    for name in ("year", "date"):
        if found := _YEAR.search(str(row.get(name, ""))):
            return int(found[0])
    return None


def _main_parts(unit: np.ndarray) -> np.ndarray:
    """Return the vectors in the 50 directions in which they differ most, two at least."""
    square = unit.T @ unit
    _, directions = np.linalg.eigh(square.astype(np.float64))
    main = directions[:, ::-1][:, :_COMPONENTS]
    # a direction and its opposite are equally good: which one comes out is left to chance else
    main *= np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    parts = (unit @ main.astype(np.float32)).astype(np.float32)
    return np.pad(parts, ((0, 0), (0, max(0, 2 - parts.shape[1]))))
