"""What all journals together say: who failed, and which audio has a vector already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mert_backfill.failures import Failure
from mert_backfill.library.listing import AudioFile
from mert_backfill.records.manifest import PendingTrack
from mert_backfill.results import Results
from mert_backfill.system.tables import read_jsonl


@dataclass(frozen=True)
class Ledger:
    """The last outcome of every track that any chunk has worked on.

    Attributes
    ----------
    failures : mapping
        Track id to its failure record, for tracks that failed the last time.
    vectors : mapping
        Hash of the decoded windows to the tracks that got a vector from them, for one profile.
    remarks : mapping
        Track id to what was odd about its sound when it got its vector, for tracks of which
        there is something to remark.
    """

    failures: Mapping[str, Failure] = field(default_factory=dict)
    vectors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    def quarantined(self, track: AudioFile | PendingTrack) -> Failure | None:
        """Return the failure for which a track is not tried again; None when it may be."""
        failure = self.failures.get(track.track_id)
        if failure is not None and failure.is_quarantine_of(track.size_bytes, track.mtime_ns):
            return failure
        return None


def read_ledger(results: Results, profile: str) -> Ledger:
    """Read the journals of all chunks that ever ran.

    Parameters
    ----------
    results : Results
        The results folder; it need not exist.
    profile : str
        The profile whose vectors can be reused.
    """
    failures: dict[str, Failure] = {}
    remarks: dict[str, str] = {}
    settled: dict[str, str] = {}  # track id to the time of its last outcome
    vectors: dict[str, dict[str, None]] = {}
    for path in results.journals():
        for record in read_jsonl(path):
            try:
                event = record["event"]
                if event == "failed":
                    failure = Failure.from_record(record["failure"])
                    if failure.timestamp >= settled.get(failure.track_id, ""):
                        settled[failure.track_id] = failure.timestamp
                        failures[failure.track_id] = failure
                        remarks.pop(failure.track_id, None)
                elif event in {"embedded", "reused"}:
                    row = record["row"]
                    if record["at"] >= settled.get(row["track_id"], ""):
                        settled[row["track_id"]] = record["at"]
                        failures.pop(row["track_id"], None)
                        remarks.pop(row["track_id"], None)
                        if row.get("remark"):
                            remarks[row["track_id"]] = row["remark"]
                    if record["profile"] == profile:
                        vectors.setdefault(row["pcm_sha256"], {})[row["track_id"]] = None
            except (KeyError, TypeError):  # a line that a power cut damaged
                continue
    by_sound = {digest: tuple(tracks) for digest, tracks in vectors.items()}
    return Ledger(failures, by_sound, remarks)


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
