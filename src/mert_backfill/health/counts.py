"""The counters of the audit: over the rows of a meta.json, and over the tracks of the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class _Counters:
    """Counters by name, as they stand in the files."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read counters back; one that an older version did not have is 0.

        Raises
        ------
        TypeError, ValueError
            A counter is no number.
        AttributeError
            The record is no mapping.
        """
        return cls(**{field.name: int(record.get(field.name, 0)) for field in fields(cls)})

    def as_record(self) -> dict[str, int]:
        """Return the counters as they are written, in their order."""
        return asdict(self)

    def minus(self, other: Self) -> Self:
        """Return the difference to counters before."""
        before = asdict(other)
        return type(self)(**{name: count - before[name] for name, count in asdict(self).items()})


@dataclass(frozen=True)
class RowCounters(_Counters):
    """The counters over the rows of one meta.json, as ``audit.json`` holds them."""

    tracks_total: int = 0
    embedding_ok: int = 0
    embedding_gap_total: int = 0
    missing_embedding_ref: int = 0
    embedding_file_missing: int = 0
    embedding_invalid: int = 0
    stale_track_path_total: int = 0
    bare_path_total: int = 0
    junk_path_total: int = 0
    duplicate_normalized_path_keys: int = 0
    failed_total: int = 0
    quarantined_total: int = 0


@dataclass(frozen=True)
class TrackCounters(_Counters):
    """What the tracks of the library are; `tracks` is the sum of the others.

    A track without a row in meta.json counts too.
    """

    tracks: int = 0
    embedded: int = 0
    failed: int = 0
    quarantined: int = 0
    open: int = 0


@dataclass(frozen=True)
class LibraryCounters:
    """The tracks of the library at the baseline, and now."""

    before: TrackCounters
    now: TrackCounters

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LibraryCounters:
        """Read counters back; see `RowCounters.from_record`."""
        return cls(
            TrackCounters.from_record(record["before"]), TrackCounters.from_record(record["now"])
        )

    def as_record(self) -> dict[str, dict[str, int]]:
        """Return the counters as they are written."""
        return asdict(self)
