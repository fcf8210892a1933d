"""The embedding store: one vector a track, each in its own file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import numpy as np

from mert_backfill import recipes
from mert_backfill.library.paths import TRACK_ID_DIGITS
from mert_backfill.results import Results
from mert_backfill.store.profile import Profile
from mert_backfill.system.atomic import write_atomically

# a layers sidecar of a model of a thousand layers has fewer; a sparse file may claim gigabytes
MAX_FILE_BYTES = 16 << 20
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_HEX = set("0123456789abcdef")
# what a vector is renamed to end in that was made of another sound than its track has now
SUPERSEDED_ENDING = ".superseded"


class VectorState(Enum):
    """What a place for a vector holds."""

    VALID = "valid"
    INVALID = "invalid"
    MISSING = "missing"


def vector_state(path: Path | str, dimension: int | None) -> VectorState:
    """Read a vector and tell whether it can be used.

    Parameters
    ----------
    path : path
        A file as written by ``numpy.save``; it is never unpickled.
    dimension : int or None
        The length D that the vector must have; None accepts any.

    Returns
    -------
    VectorState
        VALID when the file loads, has shape (D,), is finite and not all zero.
    """
    found = read_vector(path, dimension)
    return found if isinstance(found, VectorState) else VectorState.VALID


def read_vector(path: Path | str, dimension: int | None) -> np.ndarray | VectorState:
    """Return a vector that can be used, in whatever precision it was written, or its state."""
    vector = read_array(path)
    if not isinstance(vector, np.ndarray):
        return vector
    usable = (
        vector.ndim == 1
        and vector.size > 0
        and (dimension is None or vector.shape == (dimension,))
        and vector.dtype.kind == "f"
        and bool(np.isfinite(vector).all())
        and bool(vector.any())
    )
    return vector if usable else VectorState.INVALID


def read_array(path: Path | str) -> np.ndarray | VectorState:
    """Return the array in a file of ``numpy.save``, or MISSING or INVALID; never unpickles.

    The shape that the file claims is compared with its length before anything is read, and a file
    of more than `MAX_FILE_BYTES` is none of ours.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                return VectorState.INVALID
            shape, fortran_order, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
            length = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or file.tell() + length != size:
                return VectorState.INVALID
            array = np.frombuffer(file.read(length), dtype)
        return array.reshape(shape, order="F" if fortran_order else "C")
    except (FileNotFoundError, NotADirectoryError):
        return VectorState.MISSING
    except Exception:  # whatever a damaged file makes of the reader, the array is no use
        return VectorState.INVALID


def array_bytes(array: np.ndarray) -> bytes:
    """Return the content of the file that ``numpy.save`` makes of an array.

    Made in memory because numpy, where it writes into a file itself, does not say why it could
    not: a full disk would not be told from another error.
    """
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def shard_path(folder: Path, track_id: str) -> Path:
    """Return ``folder/AB/TRACK_ID.npy``, AB being the first two characters of the id."""
    if len(track_id) != TRACK_ID_DIGITS or not set(track_id) <= _HEX:
        raise ValueError(f"{track_id!r} is not a track id")
    return folder / track_id[:2] / f"{track_id}.npy"


class VectorStore:
    """The vectors of one profile, under ``embeddings/PROFILE/AB/TRACK_ID.npy``.

    Parameters
    ----------
    folder : path
        ``embeddings/PROFILE``; it need not exist.
    dimension : int
        Length D of a vector.
    """

    def __init__(self, folder: Path | str, dimension: int) -> None:
        self.folder = Path(folder)
        self.dimension = dimension

    def path(self, track_id: str) -> Path:
        """Return where the vector of a track lies, whether or not it exists."""
        return shard_path(self.folder, track_id)

    def state(self, track_id: str) -> VectorState:
        """Tell whether the store holds a valid vector of a track."""
        return vector_state(self.path(track_id), self.dimension)

    def read(self, track_id: str) -> np.ndarray:
        """Return the vector of a track [shape=(D,), float16]."""
        return np.load(self.path(track_id), allow_pickle=False)

    def write(self, track_id: str, vector: np.ndarray) -> None:
        """Write a vector [shape=(D,)] as float16; it appears whole or not at all."""
        if vector.shape != (self.dimension,):
            raise ValueError(f"shape {vector.shape} instead of ({self.dimension},)")
        stored = vector.astype(recipes.VECTOR_DTYPE)
        if not np.isfinite(stored).all() or not stored.any():
            raise ValueError("the vector is not finite, or all zero")
        data = array_bytes(stored)
        write_atomically(self.path(track_id), lambda file: file.write(data))

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the track id and the stat of every vector file, in no order."""
        return shard_files(self.folder)


def shard_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the track id and the stat of every file at a `shard_path` of a folder."""
    for shard in _entries(folder):
        if _is_shard(shard.name) and shard.is_dir():
            for entry in _entries(Path(shard.path)):
                stem, ending = os.path.splitext(entry.name)
                if ending == ".npy" and len(stem) == TRACK_ID_DIGITS and set(stem) <= _HEX:
                    yield stem, entry.stat()


def sidecar_folders(folder: Path) -> list[Path]:
    """Return the folders beside the shards of a folder."""
    entries = _entries(folder)
    return [Path(e.path) for e in entries if not _is_shard(e.name) and e.is_dir()]


def _is_shard(name: str) -> bool:
    return len(name) == 2 and set(name) <= _HEX


def open_store(results: Results, profile: Profile) -> VectorStore:
    """Return the store of a profile in a results folder."""
    return VectorStore(results.store(profile.name), profile.dimension)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
