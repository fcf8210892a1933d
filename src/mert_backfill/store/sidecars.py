"""Opt-in sidecars: more of a track, beside its vector.

- ``sections``: the vector of each window [shape=(3, D)], and each window's vector in a file of
  its own [shape=(D,)] for programs that read those;
- ``layers``: every layer of each window [shape=(3, layers + 1, D)]; layer k below the last is
  what enters layer k, the last is after the final layer norm;
- ``harmonic``: what the sound is in tune with [shape=(18,)], see `mert_backfill.audio.harmony`;
  all NaN where that cannot be told. The model has no part in it.

The first two are float16. Their rows are intro, core and late; the row of a window that the track
does not have is NaN. The last is float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mert_backfill import recipes
from mert_backfill.model.embedding import WindowEmbedding
from mert_backfill.recipes import WINDOW_NAMES, WindowName
from mert_backfill.store.vectors import (
    VectorState,
    array_bytes,
    read_array,
    shard_path,
)
from mert_backfill.system.atomic import write_atomically

SidecarKind = Literal["sections", "layers", "harmonic"]
HARMONIC_SHAPE = (18,)  # 12 of chroma, 6 of the tonnetz


@dataclass(frozen=True)
class SidecarStore:
    """The sidecars of one kind, under ``embeddings/PROFILE/KIND/AB/TRACK_ID.npy``.

    Attributes
    ----------
    kind : str
        sections, layers or harmonic.
    folder : Path
        Where they are.
    shape : tuple of int
        Shape of one.
    """

    kind: SidecarKind
    folder: Path
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The type of its numbers."""
        return np.dtype("float32" if self.kind == "harmonic" else recipes.VECTOR_DTYPE)

    def path(self, track_id: str) -> Path:
        """Return where the sidecar of a track lies, whether or not it exists."""
        return shard_path(self.folder, track_id)

    def window_path(self, window: str, track_id: str) -> Path:
        """Return where the vector of one window lies [shape=(D,)]; sections only."""
        return shard_path(self.folder / window, track_id)

    def section_paths(self, track_id: str) -> dict[WindowName, Path]:
        """Return where the vectors of intro, core and late of a complete track lie; sections only.

        All three always: the one window of a track stands for all, the first of two for intro
        and core.
        """
        array = self.read(track_id)
        there = [
            name for name, row in zip(WINDOW_NAMES, array, strict=True) if not np.isnan(row).all()
        ]
        chosen = (there[0], there[(len(there) - 1) // 2], there[-1])
        return {
            name: self.window_path(window, track_id)
            for name, window in zip(WINDOW_NAMES, chosen, strict=True)
        }

    def state(self, track_id: str) -> VectorState:
        """Read the sidecar of a track and tell whether it can be used."""
        array = read_array(self.path(track_id))
        if not isinstance(array, np.ndarray):
            return array
        if array.shape != self.shape or array.dtype != self.dtype:
            return VectorState.INVALID
        if self.kind == "harmonic":
            is_sound = np.isfinite(array).all() or np.isnan(array).all()
            return VectorState.VALID if is_sound else VectorState.INVALID
        rows = array.reshape(len(array), -1)
        present = ~np.isnan(rows).all(axis=1)
        if not present.any() or not np.isfinite(rows[present]).all():
            return VectorState.INVALID
        if self.kind == "sections" and not all(
            self.window_path(name, track_id).is_file()
            for name, there in zip(WINDOW_NAMES, present, strict=True)
            if there
        ):
            return VectorState.INVALID
        return VectorState.VALID

    def read(self, track_id: str) -> np.ndarray:
        """Return the sidecar of a track."""
        return np.load(self.path(track_id), allow_pickle=False)

    def write(self, track_id: str, array: np.ndarray) -> None:
        """Write a sidecar; it appears whole or not at all, after the files that belong to it."""
        stored = array.astype(self.dtype)
        if self.kind == "sections":
            for name, row in zip(WINDOW_NAMES, stored, strict=True):
                if not np.isnan(row).all():
                    _save(self.window_path(name, track_id), row)
        _save(self.path(track_id), stored)

    def assemble(self, windows: Mapping[str, WindowEmbedding]) -> np.ndarray:
        """Return the sections or layers made of a track's windows, by their names."""
        array = np.full(self.shape, np.nan, dtype=np.float32)
        for row, name in enumerate(WINDOW_NAMES):
            if name in windows:
                part = windows[name]
                array[row] = part.final if self.kind == "sections" else part.layers
        return array


def _save(path: Path, array: np.ndarray) -> None:
    data = array_bytes(array)
    write_atomically(path, lambda file: file.write(data))
