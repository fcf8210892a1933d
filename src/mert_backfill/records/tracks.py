"""The final tables of finished chunks: one row a track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

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


def recorded_tracks(results: Results, profile: str, sidecars: Collection[str]) -> dict[str, int]:
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
        Track id to nanoseconds; 0 for a track that failed in the last table that names it.
    """
    tables = [
        (results.tracks_table(name).stat().st_mtime_ns, name)
        for name, made in finished_chunks(results, profile).items()
        if made.issuperset(sidecars)
    ]
    recorded: dict[str, int] = {}
    for written, name in sorted(tables):
        for row in read_tsv(results.tracks_table(name)):
            recorded[row["track_id"]] = 0 if row["status"] == "failed" else written
    return recorded


def row_fields(row: dict[str, Any]) -> list[object]:
    """Return the fields of a row in the order of the header."""
    return [row.get(name) for name in TRACKS_HEADER]


def summarise_chunk(tracks: Path | str, checkpoint: Path | str) -> dict[str, Any]:
    """Return one row of the report's chunk table.

    Parameters
    ----------
    tracks : path
        ``chunks/CHUNK.tracks.tsv``.
    checkpoint : path
        ``chunks/CHUNK.checkpoint.json``.

    Returns
    -------
    dict
        `name`, `tracks`, `embedded`, `existing`, `reused`, `failed`, `tracks_per_second` (None
        when not known), `seconds_decode` and `seconds_embed` (sums over the tracks).
    """
    rows = read_tsv(tracks)
    statuses = Counter(row["status"] for row in rows)
    return {
        "name": Path(tracks).name.removesuffix(".tracks.tsv"),
        "tracks": len(rows),
        **{status: statuses[status] for status in ("embedded", "existing", "reused", "failed")},
        "tracks_per_second": _speed(checkpoint),
        **{
            name: sum(float(row[name] or 0) for row in rows)
            for name in ("seconds_decode", "seconds_embed")
        },
    }


def _speed(checkpoint: Path | str) -> float | None:
    try:
        return Checkpoint.read(checkpoint).tracks_per_second
    except (OSError, ValueError):  # nothing depends on it
        return None
