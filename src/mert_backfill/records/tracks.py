"""The final tables of finished chunks: one row a track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.results import Results
from mert_backfill.system.tables import read_tsv

TRACKS_HEADER = (
    "track_id",
    "path",
    "status",
    "seconds_decode",
    "seconds_embed",
    "duration_s",
    "sample_rate",
    "pcm_sha256",
    "device",
    "precision",
    "remark",
)


def finished_chunks(results: Results, profile: str) -> dict[str, frozenset[str]]:
    """Return the finished chunks embedded under a profile, and the sidecars made with them."""
    found = {}
    for name in results.finished_chunks():
        try:
            checkpoint = Checkpoint.read(results.checkpoint(name))
        except (OSError, ValueError):
            continue
        if checkpoint.profile == profile:
            found[name] = frozenset(checkpoint.sidecars)
    return found


class Recorded(NamedTuple):
    """What the tables of finished chunks tell of a track.

    Attributes
    ----------
    written_ns : int
        When the last of them was written; 0 where the track failed in it.
    has_vector : bool
        It got a vector here, in whichever of them; not a track of which only the harmony was told.
    """

    written_ns: int
    has_vector: bool


def recorded_tracks(
    results: Results, profile: str, sidecars: Collection[str]
) -> dict[str, Recorded]:
    """Return the tracks in the tables of finished chunks, and when the last of these was written.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    profile : str
        The profile under which the chunks were embedded.
    sidecars : collection of str
        The kinds that a chunk must have made to count: what is asked for later was not recorded.

    Returns
    -------
    dict
        By track id.
    """
    tables = sorted(
        (results.tracks_table(name).stat().st_mtime_ns, name, made)
        for name, made in finished_chunks(results, profile).items()
    )
    written: dict[str, int] = {}
    vectors: set[str] = set()
    for at, name, made in tables:
        for row in read_tsv(results.tracks_table(name)):
            track, status = row["track_id"], row["status"]
            is_decoded_only = status == "existing" and row["pcm_sha256"]
            if status != "failed" and not is_decoded_only:
                vectors.add(track)
            if made.issuperset(sidecars):
                written[track] = 0 if status == "failed" else at
    return {track: Recorded(at, track in vectors) for track, at in written.items()}


@dataclass(frozen=True, slots=True)
class Sound:
    """What was heard of a track.

    Attributes
    ----------
    duration_s : float or None
        How much of it (in seconds): at most 120.
    pcm_sha256 : str or None
        Hash of the decoded windows.
    """

    duration_s: float | None
    pcm_sha256: str | None


def read_sounds(results: Results) -> dict[str, Sound]:
    """Return what was heard of each track, by the last table of a finished chunk that tells."""
    tables = [results.tracks_table(name) for name in results.finished_chunks()]
    found = {}
    for table in sorted(tables, key=lambda path: path.stat().st_mtime_ns):
        for row in read_tsv(table):
            if row["pcm_sha256"]:
                found[row["track_id"]] = Sound(_number(row["duration_s"]), row["pcm_sha256"])
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def row_fields(row: dict[str, Any], header: Sequence[str] = TRACKS_HEADER) -> list[object]:
    """Return the fields of a row in the order of the header."""
    return [row.get(name) for name in header]


@dataclass(frozen=True)
class ChunkSummary:
    """A finished chunk in numbers.

    Attributes
    ----------
    name : str
        ``partNNN-HASH``.
    tracks : int
        All of its tracks.
    embedded, existing, reused, failed : int
        The tracks of each status.
    tracks_per_second : float or None
        None when not known.
    seconds_decode, seconds_embed : float
        Sums over the tracks.
    """

    name: str
    tracks: int
    embedded: int
    existing: int
    reused: int
    failed: int
    tracks_per_second: float | None
    seconds_decode: float
    seconds_embed: float


@dataclass(frozen=True, slots=True)
class TrackRow:
    """A row of the table of a finished chunk.

    Attributes
    ----------
    track_id, path : str
        The track.
    status : str
        embedded, existing, reused or failed.
    seconds_decode, seconds_embed : float
        What it took (in seconds).
    duration_s : float or None
        Length kept (in seconds): at most 120; None where nothing was decoded.
    pcm_sha256 : str
        Hash of the decoded windows; empty where nothing was decoded.
    """

    track_id: str
    path: str
    status: str
    seconds_decode: float
    seconds_embed: float
    duration_s: float | None
    pcm_sha256: str


def read_tracks(path: Path | str) -> list[TrackRow]:
    """Read ``chunks/CHUNK.tracks.tsv``."""
    return [
        TrackRow(
            track_id=row["track_id"],
            path=row["path"],
            status=row["status"],
            seconds_decode=float(row["seconds_decode"] or 0),
            seconds_embed=float(row["seconds_embed"] or 0),
            duration_s=float(row["duration_s"]) if row["duration_s"] else None,
            pcm_sha256=row["pcm_sha256"],
        )
        for row in read_tsv(path)
    ]


def summarise_chunk(name: str, rows: Sequence[TrackRow], checkpoint: Path | str) -> ChunkSummary:
    """Sum up a finished chunk.

    Parameters
    ----------
    name : str
        ``partNNN-HASH``.
    rows : sequence of TrackRow
        Its table.
    checkpoint : path
        ``chunks/CHUNK.checkpoint.json``.
    """
    statuses = Counter(row.status for row in rows)
    return ChunkSummary(
        name=name,
        tracks=len(rows),
        embedded=statuses["embedded"],
        existing=statuses["existing"],
        reused=statuses["reused"],
        failed=statuses["failed"],
        tracks_per_second=_speed(checkpoint),
        seconds_decode=sum(row.seconds_decode for row in rows),
        seconds_embed=sum(row.seconds_embed for row in rows),
    )


def _speed(checkpoint: Path | str) -> float | None:
    try:
        return Checkpoint.read(checkpoint).tracks_per_second
    except (OSError, ValueError):  # nothing depends on it
        return None
