"""The map: what sounds alike lies together, and the same vectors give the same map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mert_backfill.atlas.map import FEW, place_tracks, year_of
from mert_backfill.atlas.neighbors import find_neighbors, take_mean
from mert_backfill.records.atlas import About, AtlasTrack, MapPlace, read_map, write_map
from mert_backfill.results import Results


def places_of(vectors: np.ndarray) -> np.ndarray:
    unit = vectors.astype(np.float32)
    take_mean(unit)
    return place_tracks(unit, find_neighbors(unit))


def groups(count: int) -> np.ndarray:
    """Return vectors of three sounds, in turn."""
    rng = np.random.default_rng(0)
    sounds = 5 * rng.standard_normal((3, 64))
    return sounds[np.arange(count) % 3] + rng.standard_normal((count, 64))


def test_groups_by_sound_lie_apart_and_the_same_way_each_time() -> None:
    vectors = groups(60)
    places = places_of(vectors)
    assert places.shape == (60, 2)
    assert places.dtype == np.float32
    centres = np.stack([places[group::3].mean(axis=0) for group in range(3)])
    for group in range(3):
        far = np.linalg.norm(places[group::3, None] - centres, axis=2)
        assert (far.argmin(axis=1) == group).all()
    np.testing.assert_array_equal(places, places_of(vectors))


@pytest.mark.parametrize("count", range(1, FEW))
def test_a_few_tracks_have_places_of_their_own(count: int) -> None:
    places = places_of(groups(count))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == count


def test_one_dimension_is_enough() -> None:
    assert places_of(np.array([[1.0], [2.0], [4.0]])).shape == (3, 2)


def test_equal_vectors_are_placed() -> None:
    assert np.isfinite(places_of(np.ones((4, 8)))).all()


def test_years_are_found_in_what_rows_say() -> None:
    rows: list[dict[str, object]] = [
        {"year": 1994},
        {"date": "2003-05-01"},
        {"year": "", "date": "98"},
        {"year": 12345},
        {},
    ]
    assert [year_of(row) for row in rows] == [1994, 2003, None, None, None]


def test_the_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    results = Results(tmp_path)
    tracks = [AtlasTrack(f"{n:020x}", "k", "/m/a", None, None, None, "p") for n in range(2)]
    write_map(results, tracks, np.array([[1, 2], [3, 4.5]], np.float32), [None, 1999], About("p"))
    assert read_map(results) == {
        f"{0:020x}": MapPlace(1.0, 2.0, None),
        f"{1:020x}": MapPlace(3.0, 4.5, 1999),
    }
