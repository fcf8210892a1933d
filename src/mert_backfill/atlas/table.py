"""The rows of the atlas: the files of meta.json that have a usable vector of the chosen recipe."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from mert_backfill import recipes
from mert_backfill.library.listing import AudioFile, Listing
from mert_backfill.library.meta_file import MetaFile
from mert_backfill.library.paths import PathMap, track_id
from mert_backfill.library.roots import Root
from mert_backfill.records.atlas import AtlasTrack
from mert_backfill.records.calibration import UNKNOWN, Calibration
from mert_backfill.records.track_notes import TrackNote
from mert_backfill.records.tracks import Sound
from mert_backfill.store.vectors import VectorState, VectorStore, read_vector
from mert_backfill.tags import Tags, tags_from_name

_PROFILE_NAME = re.compile(rf"(?:{'|'.join(recipes.RECIPES)})-[0-9a-f]{{8}}")


class Origin(StrEnum):
    """Where a vector comes from that counts, or why one does not."""

    OURS = "ours"
    PROVED = "proved"
    UNKNOWN = "recipe_unknown"
    OTHER = "other_recipe"
    NONE = "no_usable_vector"


_COUNT = (Origin.OURS, Origin.PROVED)


@dataclass(frozen=True)
class TableInputs:
    """All that the rows are made from, read once.

    Attributes
    ----------
    meta : MetaFile
        The rebuilt meta.json.
    listing : Listing
        The library.
    roots : sequence of Root
        Its folders.
    path_map : PathMap
        Translates the spellings of meta.json.
    store : VectorStore
        The vectors of the chosen profile.
    profile : str
        Its name.
    notes : mapping
        Track id to the tags that its file had when it was embedded.
    sounds : mapping
        Track id to what was heard of it.
    recipe : str
        The recipe of that profile.
    calibration : Calibration or None
        Which recipe made the vectors that were there before.
    is_trusted : bool
        Those of which that is not known count all the same.
    """

    meta: MetaFile
    listing: Listing
    roots: Sequence[Root]
    path_map: PathMap
    store: VectorStore
    profile: str
    notes: Mapping[str, TrackNote]
    sounds: Mapping[str, Sound]
    recipe: str
    calibration: Calibration | None
    is_trusted: bool = False


@dataclass(frozen=True)
class Table:
    """The rows of the atlas, in the order of meta.json; each file has one.

    Attributes
    ----------
    tracks : tuple of AtlasTrack
        The rows.
    files : tuple of AudioFile or None
        The file of each; None where the library holds none.
    vectors : np.ndarray [shape=(n, D), dtype=float32]
        The vector of each, as it is stored.
    left_out : mapping
        How many files with a row are not in it, by why (see `Origin`).
    """

    tracks: tuple[AtlasTrack, ...]
    files: tuple[AudioFile | None, ...]
    vectors: np.ndarray
    left_out: Mapping[str, int]


def make_table(inputs: TableInputs) -> Table:
    """Find the rows of the atlas, and read their vectors."""
    files: dict[str, list[AudioFile]] = {}
    for file in inputs.listing.files:
        files.setdefault(inputs.path_map.key_of_local(file.path), []).append(file)
    rows = inputs.meta.comparison_keys()
    vectors = np.empty((len(rows), inputs.store.dimension), np.float32)
    tracks: dict[str, AtlasTrack] = {}
    found_files: list[AudioFile | None] = []
    left_out: Counter[str] = Counter()
    for comparison_key, meta_keys in rows.items():
        meta_key, vector, origin = _choose_row(inputs, meta_keys)
        if vector is None:
            left_out[origin] += 1
            continue
        named = _file_of(inputs, meta_keys, files.get(comparison_key, []))
        track = _describe(inputs, meta_key, meta_keys, comparison_key, named)
        vectors[len(tracks)] = vector
        tracks[track.track_id] = track
        found_files.append(named)
    return Table(tuple(tracks.values()), tuple(found_files), vectors[: len(tracks)], dict(left_out))


def _choose_row(
    inputs: TableInputs, meta_keys: Sequence[str]
) -> tuple[str, np.ndarray | None, Origin]:
    """Return which of a file's rows counts, its vector, and why there is none.

    A vector that was made here comes first.
    """
    origins = {key: _origin(inputs, key) for key in meta_keys}
    for origin in _COUNT:
        for key in meta_keys:
            if origins[key] is origin and (vector := _vector(inputs, key)) is not None:
                return key, vector, origin
    why = next((one for one in (Origin.UNKNOWN, Origin.OTHER) if one in origins.values()), None)
    return meta_keys[0], None, why or Origin.NONE


def _origin(inputs: TableInputs, meta_key: str) -> Origin:
    path = inputs.meta.embedding_path(meta_key)
    if path is None:
        return Origin.NONE
    profile = inputs.meta.tracks[meta_key].get("embedding_profile")
    # the row of a copy that was published names another folder, and our profile
    if profile == inputs.profile or path.is_relative_to(inputs.store.folder):
        return Origin.OURS
    if isinstance(profile, str) and _PROFILE_NAME.fullmatch(profile):
        return Origin.OTHER
    recipe = UNKNOWN if inputs.calibration is None else inputs.calibration.recipe_of(meta_key)
    if recipe == inputs.recipe or (recipe == UNKNOWN and inputs.is_trusted):
        return Origin.PROVED
    return Origin.UNKNOWN if recipe == UNKNOWN else Origin.OTHER


def _vector(inputs: TableInputs, meta_key: str) -> np.ndarray | None:
    path = inputs.meta.embedding_path(meta_key)
    vector = VectorState.MISSING if path is None else read_vector(path, inputs.store.dimension)
    if isinstance(vector, VectorState):
        return None
    with np.errstate(over="ignore"):  # float64 may hold what float32 cannot
        single = vector.astype(np.float32)
    return single if np.isfinite(single).all() and single.any() else None


def _file_of(
    inputs: TableInputs, meta_keys: Sequence[str], files: Sequence[AudioFile]
) -> AudioFile | None:
    """Return the file that rows name: of those that differ in what is not compared, the exact."""
    if len(files) < 2:
        return files[0] if files else None
    spelled = {inputs.path_map.to_local(key) for key in meta_keys}
    return next((file for file in files if file.path in spelled), files[0])


def _describe(
    inputs: TableInputs,
    meta_key: str,
    meta_keys: Sequence[str],
    comparison_key: str,
    file: AudioFile | None,
) -> AtlasTrack:
    path = inputs.path_map.to_local(meta_key) if file is None else file.path
    identity = _identity(inputs.roots, path, comparison_key) if file is None else file.track_id
    note, sound = inputs.notes.get(identity), inputs.sounds.get(identity)
    rows = [inputs.meta.tracks[key] for key in (meta_key, *meta_keys)]
    tags = note.tags if note is not None else Tags()
    from_name = tags_from_name(path)
    return AtlasTrack(
        track_id=identity,
        meta_key=meta_key,
        path=path,
        artist=_text(rows, "artist") or tags.artist or from_name.artist,
        title=_text(rows, "title") or tags.title or from_name.title,
        duration_s=sound.duration_s if sound is not None else None,
        profile=inputs.profile,
    )


def _identity(roots: Sequence[Root], path: str, comparison_key: str) -> str:
    """Return the id of a track that the library does not hold: as if it did, where it could."""
    for root in roots:
        if path.startswith(os.path.join(root.path, "")):
            return track_id(root.name, os.path.relpath(path, root.path))
    return track_id("", comparison_key)  # no root has no name


def _text(rows: Sequence[Mapping[str, Any]], name: str) -> str | None:
    values = (row.get(name) for row in rows)
    return next((v.strip() for v in values if isinstance(v, str) and v.strip()), None)
