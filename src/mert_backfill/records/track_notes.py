"""What the journals noted of tracks when their files were decoded: tags, sound, length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl
from mert_backfill.tags import Tags


@dataclass(frozen=True, slots=True)
class TrackNote:
    """What decoding a file told.

    Attributes
    ----------
    tags : Tags
        Artist and title.
    pcm_sha256 : str or None
        Hash of the decoded windows.
    duration_s : float or None
        Length kept (in seconds): at most 120.
    made_at : str or None
        When the vector was made that the track has under the profile asked for (UTC, ISO 8601).
    """

    tags: Tags
    pcm_sha256: str | None
    duration_s: float | None
    made_at: str | None = None


def read_track_notes(results: Results, profile: str | None = None) -> dict[str, TrackNote]:
    """Return what is noted of every track that any chunk has decoded, by track id.

    Of a track that was decoded more than once the last note counts.

    Parameters
    ----------
    results : Results
        The results folder.
    profile : str, optional
        The profile of whose vectors is told when they were made.
    """
    notes: dict[str, TrackNote] = {}
    noted: dict[str, str] = {}  # track id to the time of its note
    made: dict[str, str] = {}
    for path in results.journals():
        for record in read_jsonl(path):
            try:
                if record["event"] not in ("embedded", "reused", "existing"):
                    continue
                row, at = record["row"], str(record["at"])
                if record["event"] != "existing" and record["profile"] == profile:
                    made[row["track_id"]] = max(at, made.get(row["track_id"], ""))
                if at >= noted.get(row["track_id"], ""):
                    notes[row["track_id"]], noted[row["track_id"]] = _note(row), at
            except (AttributeError, KeyError, TypeError):  # a line that a power cut damaged
                continue
    for track_id, at in made.items():
        if track_id in notes:
            notes[track_id] = replace(notes[track_id], made_at=at)
    return notes


def read_sounds(results: Results) -> dict[str, str]:
    """Return the hash of the sound of every track that any chunk has decoded, by track id."""
    notes = read_track_notes(results).items()
    return {track: note.pcm_sha256 for track, note in notes if note.pcm_sha256 is not None}


def _note(row: Mapping[str, Any]) -> TrackNote:
    duration = row.get("duration_s")
    return TrackNote(
        Tags(_text(row.get("artist")), _text(row.get("title"))),
        _text(row.get("pcm_sha256")),
        float(duration) if isinstance(duration, int | float) else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
