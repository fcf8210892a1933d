"""The map of the library, as the report's script reads it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mert_backfill.errors import UserError, visible
from mert_backfill.health.coverage import extension, shown_places
from mert_backfill.hints import command
from mert_backfill.library.roots import Root
from mert_backfill.records.atlas import (
    About,
    AtlasTrack,
    DuplicateRow,
    MapPlace,
    read_about,
    read_duplicates,
    read_map,
    read_neighbors,
    read_tracks,
)
from mert_backfill.records.tracks import TrackRow
from mert_backfill.results import Results

NEAREST = 10
# calm ones that stay apart, on light and on dark; the last one is of all others
COLOURS = (
    "#2f8f87",
    "#d0952f",
    "#6480bd",
    "#c05a43",
    "#8b6bad",
    "#77a04f",
    "#cc7f9f",
    "#58a7cf",
    "#a27d55",
    "#a9a59c",
)
_OTHERS = "others"
_UNKNOWN = "unknown"
_THOUSANDTHS = 1000


@dataclass(frozen=True)
class Atlas:
    """The files of the atlas, read.

    Attributes
    ----------
    about : About
        What it was made of.
    tracks : sequence of AtlasTrack
        Its tracks.
    places : mapping
        Track id to its place on the map.
    neighbors : sequence of (str, str, float)
        Track, neighbour and cosine, the nearest first of each.
    duplicates : sequence of DuplicateRow
        The groups of near-duplicates.
    """

    about: About
    tracks: Sequence[AtlasTrack]
    places: Mapping[str, MapPlace]
    neighbors: Sequence[tuple[str, str, float]]
    duplicates: Sequence[DuplicateRow]


def read_atlas(results: Results) -> Atlas:
    """Read what the report shows of the atlas.

    Raises
    ------
    UserError
        One of its files is missing, damaged, or of another library than the others.
    """
    atlas = Atlas(
        about=read_about(results),
        tracks=read_tracks(results),
        places=read_map(results),
        neighbors=read_neighbors(results, ranks=NEAREST),
        duplicates=read_duplicates(results),
    )
    ids = {track.track_id for track in atlas.tracks}
    named = {name for track, other, _ in atlas.neighbors for name in (track, other)}
    if ids != atlas.places.keys() or not named <= ids:
        raise UserError(
            f"{results.atlas_map} and {results.atlas_neighbors} are not of the tracks in "
            f"{results.atlas_library}; delete them and run `{command('atlas')}`"
        )
    return atlas


def map_data(atlas: Atlas, roots: Sequence[Root], rows: Sequence[TrackRow]) -> dict[str, Any]:
    """Return the map as values of JSON; texts are such as can be shown.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    roots : sequence of Root
        The library's roots.
    rows : sequence of TrackRow
        The tracks that were taken through here.
    """
    tracks = atlas.tracks
    index = {track.track_id: place for place, track in enumerate(tracks)}
    near = [(index[other], cosine) for _, other, cosine in atlas.neighbors]
    folders = [visible(os.path.dirname(track.path)) for track in tracks]
    numbered = {folder: place for place, folder in enumerate(dict.fromkeys(folders))}
    places = [atlas.places[track.track_id] for track in tracks]
    here = {row.track_id for row in rows if row.status != "failed"}
    groups = {
        "folder": _most(shown_places([_place(track.path, roots) for track in tracks])),
        "format": _most([extension(track.path) for track in tracks]),
        "year": _in_order([_decade(place.year) for place in places]),
        "status": _most(["new" if track.track_id in here else "from before" for track in tracks]),
    }
    return {
        "ids": [track.track_id for track in tracks],
        "names": [visible(_name(track)) for track in tracks],
        "folders": list(numbered),
        "folder": [numbered[folder] for folder in folders],
        "files": [visible(os.path.basename(track.path)) for track in tracks],
        "x": [round(place.x, 3) for place in places],
        "y": [round(place.y, 3) for place in places],
        "near": [other for other, _ in near],
        "cosine": [round(cosine * _THOUSANDTHS) for _, cosine in near],
        "colours": list(COLOURS),
        "groups": {name: group for name, group in groups.items() if len(group["labels"]) > 1},
    }


def _name(track: AtlasTrack) -> str:
    title = track.title or os.path.splitext(os.path.basename(track.path))[0]
    return f"{track.artist} – {title}" if track.artist else title


def _place(path: str, roots: Sequence[Root]) -> tuple[str, ...]:
    """Return the root and the folders below it that hold a file."""
    for root in roots:
        below = path.removeprefix(os.path.join(root.path, ""))
        if below != path:
            return (root.name, *below.split("/")[:-1])
    return (os.path.dirname(path),)


def _decade(year: int | None) -> str:
    return _UNKNOWN if year is None else f"{year // 10 * 10}s"


def _most(names: Sequence[str]) -> dict[str, Any]:
    """Return groups by name, the largest first; the small ones are one."""
    labels = [name for name, _ in Counter(names).most_common()]
    return _numbered(names, labels)


def _in_order(names: Sequence[str]) -> dict[str, Any]:
    """Return groups by name, the last one first, so that old ones are what is left over."""
    labels = sorted({*names} - {_UNKNOWN}, reverse=True)
    return _numbered(names, [*labels, *([_UNKNOWN] if labels and _UNKNOWN in names else [])])


def _numbered(names: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    last = len(COLOURS) - 1
    kept = labels if len(labels) <= len(COLOURS) else labels[:last]
    number = {label: place for place, label in enumerate(kept)}
    shown = [visible(label) for label in kept]
    more = [_OTHERS] if len(kept) < len(labels) else []
    return {"labels": shown + more, "of": [number.get(name, last) for name in names]}
