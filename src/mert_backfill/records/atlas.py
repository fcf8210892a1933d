r"""The atlas as files: the library, its neighbours, its near-duplicates.

Parquet holds valid Unicode only. A byte of a name that is not UTF-8 is written as six letters,
``\udcXX``, as JSON does; ``track_id`` joins the tables with all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.results import Results
from mert_backfill.system.atomic import write_atomically
from mert_backfill.system.tables import read_tsv, write_tsv

ROW_GROUP = 10_000
NEIGHBORS = 50
_ABOUT = b"mert_backfill"
_ESCAPED = re.compile(r"\\udc([89a-f][0-9a-f])")
_TEXT_COLUMNS = ("track_id", "meta_key", "path", "artist", "title", "profile")
_TRACK_COLUMNS = ("track_id", "meta_key", "path", "artist", "title", "duration_s", "profile")


@dataclass(frozen=True, slots=True)
class AtlasTrack:
    """A track of the atlas; `duration_s` is how much of it was heard (in seconds), at most 120."""

    track_id: str
    meta_key: str
    path: str
    artist: str | None
    title: str | None
    duration_s: float | None
    profile: str


@dataclass(frozen=True)
class About:
    """What an atlas was made of; it stands in the metadata of its Parquet files.

    Attributes
    ----------
    profile : str
        The profile of all its vectors.
    note : str or None
        What people must know of the vectors.
    meta_rebuilt : str
        When the meta.json was written whose rows it shows (UTC, ISO 8601).
    left_out : mapping
        How many files with a row it does not show, by why.
    recall : float or None
        How many of the true neighbours were found, on a sample; None where all were.
    """

    profile: str
    note: str | None = None
    meta_rebuilt: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    recall: float | None = None

    def with_recall(self, recall: float | None) -> About:
        """Return the same with a recall."""
        return replace(self, recall=recall)


@dataclass(frozen=True)
class Neighbors:
    """The nearest tracks of each track, the nearest first.

    Attributes
    ----------
    places : np.ndarray [shape=(n, k), dtype=int32]
        Which tracks.
    cosines : np.ndarray [shape=(n, k), dtype=float32]
        How near: from -1 to 1.
    recall : float or None
        See `About`.
    """

    places: np.ndarray
    cosines: np.ndarray
    recall: float | None = None


@dataclass(frozen=True)
class DuplicateRow:
    """A track of a group of near-duplicates.

    Attributes
    ----------
    group : int
        Which group, from 1; the one that takes the most room first.
    proposal : str
        ``keep``, once in each group, or ``spare``.
    track_id, path : str
        The track.
    size_bytes : int
        Its size.
    lossless : str
        ``yes``, ``no``, or nothing where that is not known.
    length_s, sample_rate, bit_rate : float, int, int or None
        What its file says of itself (in seconds, Hz, bits per second).
    cosine : float or None
        To the kept track, the library's mean taken from both.
    evidence : str
        Why it counts as the same sound as the kept one; of the kept one, why that is kept.
    spare_bytes : int or None
        Of the kept track: what the others of the group take.
    """

    group: int
    proposal: str
    track_id: str
    path: str
    size_bytes: int
    lossless: str
    length_s: float | None
    sample_rate: int | None
    bit_rate: int | None
    cosine: float | None
    evidence: str
    spare_bytes: int | None


DUPLICATES_HEADER = tuple(DuplicateRow.__dataclass_fields__)


def as_unicode(text: str) -> str:
    r"""Return a text with ``\udcXX`` for each byte that was not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def from_unicode(text: str) -> str:
    """Return the name on the disk that `as_unicode` made a text of."""
    if "\\udc" not in text:
        return text
    return _ESCAPED.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text)


def write_library(
    results: Results, tracks: Sequence[AtlasTrack], vectors: np.ndarray, about: About
) -> None:
    """Write ``library.parquet``.

    Parameters
    ----------
    results : Results
        The results folder.
    tracks : sequence of AtlasTrack
        The rows.
    vectors : np.ndarray [shape=(n, D), dtype=float32]
        Their vectors.
    about : About
        What they are.
    """
    dimension = vectors.shape[1]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in _TRACK_COLUMNS[:5]),
            ("duration_s", pa.float64()),
            ("profile", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
        ],
        metadata=_metadata(about),
    )

    def groups() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(tracks), ROW_GROUP):
            some = tracks[start : start + ROW_GROUP]
            columns = [_column(some, name) for name in _TRACK_COLUMNS]
            numbers = pa.array(vectors[start : start + len(some)].ravel(), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(numbers, dimension))
            yield pa.record_batch(columns, schema=schema)

    _write(results.atlas_library, schema, groups(), ROW_GROUP)


def write_neighbors(
    results: Results, tracks: Sequence[AtlasTrack], neighbors: Neighbors, about: About
) -> None:
    """Write ``neighbors.parquet``: of each track its nearest, rank by rank."""
    schema = pa.schema(
        [
            ("track_id", pa.string()),
            ("rank", pa.int32()),
            ("neighbor_id", pa.string()),
            ("cosine", pa.float32()),
        ],
        metadata=_metadata(about),
    )
    ids = pa.array([track.track_id for track in tracks], pa.string())
    count, width = neighbors.places.shape

    def groups() -> Iterator[pa.RecordBatch]:
        for start in range(0, count if width else 0, ROW_GROUP):
            places = neighbors.places[start : start + ROW_GROUP]
            own = np.repeat(np.arange(start, start + len(places)), width)
            ranks = np.tile(np.arange(1, width + 1, dtype=np.int32), len(places))
            cosines = neighbors.cosines[start : start + ROW_GROUP].ravel()
            columns = [ids.take(pa.array(own)), ranks, ids.take(pa.array(places.ravel())), cosines]
            yield pa.record_batch([*map(pa.array, columns)], schema=schema)

    _write(results.atlas_neighbors, schema, groups(), ROW_GROUP * max(1, width))


def write_map(
    results: Results,
    tracks: Sequence[AtlasTrack],
    places: np.ndarray,
    years: Sequence[int | None],
    about: About,
) -> None:
    """Write ``map.parquet``.

    Parameters
    ----------
    results : Results
        The results folder.
    tracks : sequence of AtlasTrack
        The rows.
    places : np.ndarray [shape=(n, 2), dtype=float32]
        Where they lie on the map.
    years : sequence of int or None
        When they came out; None where that is not known.
    about : About
        What they are.
    """
    schema = pa.schema(
        [("track_id", pa.string()), ("x", pa.float32()), ("y", pa.float32()), ("year", pa.int16())],
        metadata=_metadata(about),
    )
    columns = [
        _column(tracks, "track_id"),
        pa.array(places[:, 0], pa.float32()),
        pa.array(places[:, 1], pa.float32()),
        pa.array(years, pa.int16()),
    ]
    batches = pa.record_batch(columns, schema=schema)
    _write(results.atlas_map, schema, iter([batches]), ROW_GROUP)


def write_duplicates(results: Results, rows: Sequence[DuplicateRow]) -> None:
    """Write ``near_duplicates.tsv``."""
    fields = ([getattr(row, name) for name in DUPLICATES_HEADER] for row in rows)
    write_tsv(results.near_duplicates, DUPLICATES_HEADER, fields)


def read_tracks(results: Results) -> list[AtlasTrack]:
    """Read the rows of ``library.parquet``, without their vectors.

    Raises
    ------
    UserError
        There is no atlas, or it is damaged.
    """
    table = _read(results.atlas_library, _TRACK_COLUMNS)
    columns = [
        [from_unicode(value) if isinstance(value, str) else value for value in column.to_pylist()]
        for column in table.columns
    ]
    return [AtlasTrack(*row) for row in zip(*columns, strict=True)]


def read_vectors(results: Results) -> np.ndarray:
    """Read the vectors of ``library.parquet`` [shape=(n, D), dtype=float32], in the same order."""
    column = _read(results.atlas_library, ["vector"]).column("vector")
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return flat.reshape(-1, column.type.list_size)


def read_about(results: Results) -> About:
    """Read what the atlas was made of."""
    try:
        metadata = pq.read_schema(results.atlas_library).metadata or {}
        return About(**json.loads(metadata[_ABOUT]))
    except FileNotFoundError as error:
        raise _missing(results.atlas_library) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(results.atlas_library) from error


def when_rebuilt(results: Results) -> str:
    """Return when meta.json was written (UTC, ISO 8601); nothing where there is none."""
    try:
        written = datetime.fromtimestamp(results.meta.stat().st_mtime, UTC)
    except OSError:
        return ""
    return written.isoformat(timespec="seconds")


def read_neighbors(
    results: Results, track_id: str | None = None, ranks: int = NEIGHBORS
) -> list[tuple[str, str, float]]:
    """Read ``neighbors.parquet``: track, neighbour and cosine, the nearest first of each.

    Parameters
    ----------
    results : Results
        The results folder.
    track_id : str, optional
        Only the neighbours of this track.
    ranks : int
        Only so many of each.
    """
    names = ["track_id", "neighbor_id", "cosine"]
    filters: list[tuple[str, str, object]] = [("rank", "<=", ranks)]
    filters += [] if track_id is None else [("track_id", "=", track_id)]
    table = _read(results.atlas_neighbors, names, filters)
    columns = [table.column(name).to_pylist() for name in names]
    return list(zip(*columns, strict=True))


def read_steps(
    results: Results, tracks: Sequence[AtlasTrack]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read ``neighbors.parquet``: track and neighbour as places in `tracks`, and their cosine."""
    table = _read(results.atlas_neighbors, ["track_id", "neighbor_id", "cosine"])
    ids = pa.array([track.track_id for track in tracks], pa.string())
    places = [pc.index_in(table.column(name), value_set=ids) for name in table.column_names[:2]]
    if any(column.null_count for column in places):
        raise _damaged(results.atlas_neighbors)  # of another library.parquet
    first, second = (column.to_numpy() for column in places)
    return first, second, table.column("cosine").to_numpy()


@dataclass(frozen=True, slots=True)
class MapPlace:
    """Where a track lies on the map, and when it came out, if that is known."""

    x: float
    y: float
    year: int | None


def read_map(results: Results) -> dict[str, MapPlace]:
    """Read ``map.parquet``: track id to its place."""
    names = ["track_id", "x", "y", "year"]
    table = _read(results.atlas_map, names)
    ids, *columns = (table.column(name).to_pylist() for name in names)
    places = (MapPlace(*values) for values in zip(*columns, strict=True))
    return dict(zip(ids, places, strict=True))


def read_duplicates(results: Results) -> list[DuplicateRow]:
    """Read ``near_duplicates.tsv``."""
    try:
        rows = read_tsv(results.near_duplicates)
        return [_duplicate(row) for row in rows]
    except FileNotFoundError as error:
        raise _missing(results.near_duplicates) from error
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(results.near_duplicates) from error


def _duplicate(row: Mapping[str, str]) -> DuplicateRow:
    def number(name: str, kind: type[Any]) -> Any:
        return kind(row[name]) if row[name] else None

    return DuplicateRow(
        group=int(row["group"]),
        proposal=row["proposal"],
        track_id=row["track_id"],
        path=row["path"],
        size_bytes=int(row["size_bytes"]),
        lossless=row["lossless"],
        length_s=number("length_s", float),
        sample_rate=number("sample_rate", int),
        bit_rate=number("bit_rate", int),
        cosine=number("cosine", float),
        evidence=row["evidence"],
        spare_bytes=number("spare_bytes", int),
    )


def _column(tracks: Sequence[AtlasTrack], name: str) -> pa.Array:
    values = [getattr(track, name) for track in tracks]
    if name not in _TEXT_COLUMNS:
        return pa.array(values, pa.float64())
    return pa.array([None if text is None else as_unicode(text) for text in values], pa.string())


def _metadata(about: About) -> dict[bytes, bytes]:
    return {_ABOUT: json.dumps(asdict(about)).encode()}


def _write(path: Path, schema: pa.Schema, groups: Iterator[pa.RecordBatch], rows: int) -> None:
    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for group in groups:
                writer.write_batch(group, row_group_size=rows)

    write_atomically(path, write)


def _read(path: Path, columns: Sequence[str], filters: Any = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns), filters=filters)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path) from error


def _missing(path: Path) -> UserError:
    return UserError(f"there is no atlas yet ({path} is missing); run `{command('atlas')}`")


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: is damaged; delete it and run `{command('atlas')}`")
