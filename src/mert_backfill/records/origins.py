"""What each vector here was made of: which sound, and which state of its file.

Journals tell it, in the lines ``embedded`` and ``reused``. A vector that takes the place of one of
another sound is announced by a line ``replacing``; until the next line that tells of it, nobody
knows which of the two sounds the store holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mert_backfill.library.listing import AudioFile
from mert_backfill.records.manifest import FILE_CHANGED, PendingTrack


class FileStamp(NamedTuple):
    """Size and time of a file: where one of them changes, the file did."""

    size_bytes: int
    mtime_ns: int


# of a vector whose replacement was cut short: no file has it
NO_FILE = FileStamp(-1, -1)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a track's vector was made of.

    Attributes
    ----------
    track_id : str
        The track.
    at : str
        When that was noted (UTC, ISO 8601).
    sound : str or None
        Hash of the decoded windows; None while the vector is being replaced.
    file : FileStamp or None
        The file as the scan saw it before it was decoded; None where the version that made the
        vector did not note it.
    """

    track_id: str
    at: str
    sound: str | None
    file: FileStamp | None


def origin_told(record: Mapping[str, Any], profile: str) -> Origin | None:
    """Return what a line of a journal says of a vector's origin.

    None when it tells of something else, or of a vector of another profile.
    """
    try:
        if record.get("profile") != profile:
            return None
        match record["event"]:
            case "embedded" | "reused":
                row = record["row"]
                sound = str(row["pcm_sha256"])
                return Origin(str(row["track_id"]), str(record["at"]), sound, _stamp(row))
            case "replacing":
                return Origin(str(record["track_id"]), str(record["at"]), None, NO_FILE)
    except (KeyError, TypeError):  # a line that a power cut damaged
        pass
    return None


def _stamp(row: Mapping[str, Any]) -> FileStamp | None:
    size, mtime = row.get("size_bytes"), row.get("mtime_ns")
    return FileStamp(size, mtime) if isinstance(size, int) and isinstance(mtime, int) else None


def last_origin(origins: Iterable[Origin | None]) -> Origin | None:
    """Return the last of some origins of one track; of two of the same time the later one here."""
    last: Origin | None = None
    for origin in origins:
        if origin is not None and (last is None or origin.at >= last.at):
            last = origin
    return last


def stamp_of(file: AudioFile | PendingTrack) -> FileStamp:
    """Return size and time of a file as it was seen."""
    return FileStamp(file.size_bytes, file.mtime_ns)


def is_made_of(row: PendingTrack, file: FileStamp | None) -> bool:
    """Tell whether a vector that was made of `file` is what a pending track waits for.

    One that is pending because its file changed waits for a vector of the file as it is now,
    others for any.
    """
    return row.reason != FILE_CHANGED or file == stamp_of(row)
