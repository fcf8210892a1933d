"""A small atlas, written without a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.library.paths import track_id
from mert_backfill.records.atlas import (
    About,
    AtlasTrack,
    DuplicateRow,
    write_duplicates,
    write_library,
    write_map,
    write_neighbors,
)
from mert_backfill.results import Results
from support import ROOT_NAME

PROFILE = "canonical-0123abcd"


def a_track(
    path: str, artist: str | None = None, title: str | None = None, key: str | None = None
) -> AtlasTrack:
    """Return a track below /music."""
    identity = track_id(ROOT_NAME, path.removeprefix("/music/"))
    return AtlasTrack(identity, key or path, path, artist, title, 61.5, PROFILE)


def write_atlas(
    results: Results,
    tracks: Sequence[AtlasTrack],
    vectors: np.ndarray,
    *,
    note: str | None = None,
    copies: Sequence[Sequence[int]] = (),
    years: Sequence[int | None] = (),
) -> None:
    """Write its tables; `copies` are groups of near-duplicates, the one to keep first."""
    about = About(PROFILE, note, "2026-11-25T12:00:00+00:00")
    write_library(results, tracks, vectors, about)
    unit = vectors.copy()
    take_mean(unit)
    write_neighbors(results, tracks, find_neighbors(unit), about)
    write_map(results, tracks, unit[:, :2], years or [None] * len(tracks), about)
    rows = [
        DuplicateRow(
            group=group,
            proposal="spare" if rank else "keep",
            track_id=tracks[place].track_id,
            path=tracks[place].path,
            size_bytes=1,
            lossless="no",
            length_s=None,
            sample_rate=None,
            bit_rate=None,
            cosine=None,
            evidence="equal sound",
            spare_bytes=None if rank else 1,
        )
        for group, places in enumerate(copies, 1)
        for rank, place in enumerate(places)
    ]
    write_duplicates(results, rows)
