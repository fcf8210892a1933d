"""What all journals together say of who failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile
from mert_backfill.records.manifest import PendingTrack
from mert_backfill.records.origins import FileStamp, origin_told
from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl


@dataclass(frozen=True)
class Ledger:
    """What the last outcomes of tracks leave to know.

    Attributes
    ----------
    failures : mapping
        Track id to its failure record, for tracks that failed the last time.
    remarks : mapping
        Track id to what was odd about its sound when it got its vector, for tracks of which
        there is something to remark.
    made_of : mapping
        Track id to the file that its vector was made of, for tracks of which that is known.
    first_failed : mapping
        Track id to the time at which its file failed first, as it is, for the tracks of `failures`.
    """

    failures: Mapping[str, Failure] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    made_of: Mapping[str, FileStamp] = field(default_factory=dict)
    first_failed: Mapping[str, str] = field(default_factory=dict)

    def quarantined(self, track: AudioFile | PendingTrack) -> Failure | None:
        """Return the failure for which a track is not tried again; None when it may be."""
        failure = self.failures.get(track.track_id)
        if failure is not None and failure.is_quarantine_of(track.size_bytes, track.mtime_ns):
            return failure
        return None


def runs_in_a_row(records: Iterable[Mapping[str, Any]]) -> int:
    """Return in how many runs in a row, the last one included, a track failed alike.

    That is for the same reason, while its file was the same.

    Parameters
    ----------
    records : iterable of mapping
        The lines of all journals that tell of the track, in any order.
    """
    outcomes = sorted(filter(None, map(_outcome, records)), key=lambda outcome: outcome[0])
    runs: set[object] = set()
    last: Failure | None = None
    for at, failure, run in reversed(outcomes):
        if failure is None or (last is not None and not failure.is_like(last)):
            break
        last = failure
        runs.add(at if run is None else run)  # of an earlier version, or called by hand
    return len(runs)


def _outcome(record: Mapping[str, Any]) -> tuple[str, Failure | None, str | None] | None:
    """Return when a track was settled, its failure, and the run in which it failed."""
    try:
        match record["event"]:
            case "failed":
                failure = Failure.from_record(record["failure"])
                return failure.timestamp, failure, record.get("run")
            case "embedded" | "reused" | "existing":
                return record["at"], None, None
    except (KeyError, TypeError):  # a line that a power cut damaged
        pass
    return None


class LastOutcomes:
    """The last outcome of each track, learned line by line, in whatever order journals are read.

    Parameters
    ----------
    profile : str or None
        The profile whose vectors' files are learned.

    Attributes
    ----------
    failures, remarks, made_of : dict
        See `Ledger`.
    """

    def __init__(self, profile: str | None = None) -> None:
        self.failures: dict[str, Failure] = {}
        self.remarks: dict[str, str] = {}
        self.made_of: dict[str, FileStamp] = {}
        self._profile = profile
        self._settled: dict[str, str] = {}  # track id to the time of its last outcome
        self._made: dict[str, str] = {}  # the same of its last vector
        self._first: dict[tuple[str, int, int], str] = {}  # of each file, as it was then

    def add(self, record: Mapping[str, Any]) -> None:
        """Learn from a line of a journal; a damaged one is passed over."""
        if self._profile is not None:
            self._add_origin(record, self._profile)
        try:
            match record["event"]:
                case "failed":
                    failure = Failure.from_record(record["failure"])
                    first = self._first.setdefault(_file_of(failure), failure.timestamp)
                    self._first[_file_of(failure)] = min(first, failure.timestamp)
                    if self._is_last(failure.track_id, failure.timestamp):
                        self.failures[failure.track_id] = failure
                        self.remarks.pop(failure.track_id, None)
                case "embedded" | "reused" | "existing":
                    row = record["row"]
                    if self._is_last(row["track_id"], record["at"]):
                        self.failures.pop(row["track_id"], None)
                        self.remarks.pop(row["track_id"], None)
                        if row.get("remark"):
                            self.remarks[row["track_id"]] = row["remark"]
        except (KeyError, TypeError):
            return

    def _add_origin(self, record: Mapping[str, Any], profile: str) -> None:
        origin = origin_told(record, profile)
        if origin is None or origin.at < self._made.get(origin.track_id, ""):
            return
        self._made[origin.track_id] = origin.at
        if origin.file is None:
            self.made_of.pop(origin.track_id, None)
        else:
            self.made_of[origin.track_id] = origin.file

    @property
    def first_failed(self) -> dict[str, str]:
        """See `Ledger`."""
        return {track: self._first[_file_of(last)] for track, last in self.failures.items()}

    def _is_last(self, track_id: str, at: str) -> bool:
        if at < self._settled.get(track_id, ""):
            return False
        self._settled[track_id] = at
        return True


def _file_of(failure: Failure) -> tuple[str, int, int]:
    return failure.track_id, failure.size_bytes, failure.mtime_ns


def read_ledger(results: Results, profile: str | None = None) -> Ledger:
    """Read the journals of all chunks that ever ran.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    profile : str or None
        The profile whose vectors' files are wanted.
    """
    outcomes = LastOutcomes(profile)
    for path in results.journals():
        for record in read_jsonl(path):
            outcomes.add(record)
    return Ledger(outcomes.failures, outcomes.remarks, outcomes.made_of, outcomes.first_failed)


@dataclass(frozen=True)
class EmbeddedTrack:
    """A vector as its journal tells of it.

    `duration_s` is how much sound went into it (in seconds), `remark` what was odd about that
    sound: None where the version that made it did not look.
    """

    track_id: str
    path: str
    profile: str
    duration_s: float
    remark: str | None


def read_embedded(results: Results) -> list[EmbeddedTrack]:
    """Return the last vector of each track and profile that the journals of all chunks tell of."""
    found: dict[tuple[str, str], tuple[str, EmbeddedTrack]] = {}
    for path in results.journals():
        for record in read_jsonl(path):
            try:
                if record["event"] not in {"embedded", "reused"}:
                    continue
                row, profile, at = record["row"], record["profile"], record["at"]
                track = EmbeddedTrack(
                    row["track_id"],
                    row["path"],
                    profile,
                    float(row["duration_s"]),
                    row.get("remark"),
                )
                before, _ = found.get((profile, track.track_id), ("", None))
                if at >= before:
                    found[profile, track.track_id] = (at, track)
            except (KeyError, TypeError, ValueError):  # a line that a power cut damaged
                continue
    return [track for _, track in found.values()]


def is_hopeless(row: PendingTrack, ledger: Ledger, released: Mapping[str, int]) -> bool:
    """Tell whether a track is quarantined and nobody has released it to be tried again."""
    failure = ledger.quarantined(row)
    return failure is not None and failure.attempts > released.get(row.track_id, 0)
