"""All that is kept of a track: its vector and its sidecars."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mert_backfill.recipes import WINDOW_NAMES
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import HARMONIC_SHAPE, SidecarKind, SidecarStore
from mert_backfill.store.vectors import (
    SUPERSEDED_ENDING,
    VectorState,
    VectorStore,
    open_store,
    shard_files,
    shard_path,
    sidecar_folders,
)


@dataclass(frozen=True, eq=False)
class TrackArrays:
    """What is kept of one track.

    Attributes
    ----------
    vector : np.ndarray [shape=(D,), dtype=float16] or None
        The track's vector; None where only sidecars were made.
    sidecars : mapping
        The sidecars that were made, by kind.
    """

    vector: np.ndarray | None
    sidecars: Mapping[SidecarKind, np.ndarray]

    def with_harmony(self, harmony: np.ndarray | None) -> TrackArrays:
        """Return the same with a harmony, if there is one."""
        if harmony is None:
            return self
        return TrackArrays(self.vector, {**self.sidecars, "harmonic": harmony})


@dataclass(frozen=True)
class Need:
    """What has to be kept of a track.

    Attributes
    ----------
    vector : bool
        Its vector; not that of a track whose row names another program's.
    besides : frozenset of str
        The kinds of sidecar that its row has already, so that they need not be here.
    """

    vector: bool = True
    besides: frozenset[str] = frozenset()


ALL = Need()


@dataclass(frozen=True)
class TrackStore:
    """All that is to be kept of each track: its vector, and the sidecars asked for."""

    vectors: VectorStore
    sidecars: tuple[SidecarStore, ...]

    @property
    def folders(self) -> list[Path]:
        """The folders of the vectors and of each kind of sidecar."""
        return [self.vectors.folder, *(store.folder for store in self.sidecars)]

    def sidecar(self, kind: SidecarKind) -> SidecarStore | None:
        """Return the sidecars of a kind, None when it is not asked for."""
        return next((store for store in self.sidecars if store.kind == kind), None)

    def read(self, track_id: str, need: Need = ALL) -> TrackArrays:
        """Return all that is kept of a complete track."""
        return TrackArrays(
            self.vectors.read(track_id),
            {store.kind: store.read(track_id) for store in self._needed(need)},
        )

    def is_complete(self, track_id: str, need: Need = ALL) -> bool:
        """Tell whether nothing of what is needed of a track is missing or damaged."""
        if need.vector and self.vectors.state(track_id) is not VectorState.VALID:
            return False
        return not self.missing(track_id, need)

    def write(self, track_id: str, arrays: TrackArrays) -> None:
        """Write what a track lacks, its vector last; what it has is never written again."""
        for store in self.missing(track_id):
            if store.kind in arrays.sidecars:
                store.write(track_id, arrays.sidecars[store.kind])
        is_lacking = self.vectors.state(track_id) is not VectorState.VALID
        if arrays.vector is not None and is_lacking:
            self.vectors.write(track_id, arrays.vector)

    def replace(self, track_id: str, arrays: TrackArrays) -> None:
        """Write all of a track whose sound is another now; the old vector stays until the end.

        What else is kept of the old sound goes, whether or not it is asked for at present.
        """
        if arrays.vector is None:
            raise ValueError("without a vector there is nothing in its place")
        for path in self._beside_the_vector(track_id):
            path.unlink()
        for store in self.sidecars:
            if store.kind in arrays.sidecars:
                store.write(track_id, arrays.sidecars[store.kind])
        self.vectors.write(track_id, arrays.vector)

    def set_aside(self, track_id: str) -> None:
        """Rename all that is kept of a track to end in ``.superseded``: its sound is another now.

        The vector last: as long as it is there, this is not done.
        """
        for path in (*self._beside_the_vector(track_id), self.vectors.path(track_id)):
            with suppress(FileNotFoundError):
                path.rename(path.with_name(path.name + SUPERSEDED_ENDING))

    def written_since(self, track_id: str, time_ns: int, need: Need = ALL) -> bool:
        """Tell whether a file of a track was written at or after a time, or is gone."""
        needed = self._needed(need)
        paths = [self.vectors.path(track_id), *(store.path(track_id) for store in needed)]
        try:
            return any(os.stat(path).st_mtime_ns >= time_ns for path in paths)
        except OSError:
            return True

    def _beside_the_vector(self, track_id: str) -> list[Path]:
        """Return the sidecars that a track has, of whatever kind, and the files beside those."""
        name = shard_path(Path(), track_id)
        kinds = sidecar_folders(self.vectors.folder)
        folders = [*kinds, *(inner for kind in kinds for inner in sidecar_folders(kind))]
        return [path for folder in folders if (path := folder / name).is_file()]

    def missing(self, track_id: str, need: Need = ALL) -> list[SidecarStore]:
        """Return the sidecars that a track lacks."""
        needed = self._needed(need)
        return [store for store in needed if store.state(track_id) is not VectorState.VALID]

    def _needed(self, need: Need) -> list[SidecarStore]:
        return [store for store in self.sidecars if store.kind not in need.besides]


class StoreSnapshot:
    """What a store held when it was asked: each of its files is read once at most.

    It is there to decide by; what is written later is not seen.

    Parameters
    ----------
    store : TrackStore
        The store.
    """

    def __init__(self, store: TrackStore) -> None:
        self._store = store
        self._vectors: dict[str, VectorState] = {}
        self._missing: dict[str, list[SidecarKind]] = {}

    def vector(self, track_id: str) -> VectorState:
        """Tell what the store holds as the vector of a track."""
        if track_id not in self._vectors:
            self._vectors[track_id] = self._store.vectors.state(track_id)
        return self._vectors[track_id]

    def is_complete(self, track_id: str, need: Need = ALL) -> bool:
        """Tell whether nothing of what is needed of a track is missing or damaged."""
        has_vector = not need.vector or self.vector(track_id) is VectorState.VALID
        return has_vector and not self.missing(track_id, need)

    def missing(self, track_id: str, need: Need = ALL) -> list[SidecarKind]:
        """Return the kinds of sidecar that a track lacks."""
        if track_id not in self._missing:
            self._missing[track_id] = [store.kind for store in self._store.missing(track_id)]
        return [kind for kind in self._missing[track_id] if kind not in need.besides]

    @cached_property
    def files(self) -> list[dict[str, os.stat_result]]:
        """The stat of each track's file, in `TrackStore.folders` one after the other."""
        return [dict(shard_files(folder)) for folder in self._store.folders]


def open_track_store(
    results: Results, profile: Profile, sidecars: Sequence[SidecarKind]
) -> TrackStore:
    """Return the store of a profile with its sidecars.

    Parameters
    ----------
    results : Results
        The results folder.
    profile : Profile
        The profile.
    sidecars : sequence of str
        The kinds that are asked for.
    """
    vectors = open_store(results, profile)
    windows, dimension = len(WINDOW_NAMES), profile.dimension
    shapes: dict[str, tuple[int, ...]] = {
        "sections": (windows, dimension),
        "layers": (windows, profile.layers + 1, dimension),
        "harmonic": HARMONIC_SHAPE,
    }
    return TrackStore(
        vectors,
        tuple(SidecarStore(kind, vectors.folder / kind, shapes[kind]) for kind in sidecars),
    )
