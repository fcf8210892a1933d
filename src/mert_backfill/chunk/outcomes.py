"""What becomes of a chunk's tracks: noted in its journal, kept in the store, and counted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mert_backfill.audio.prepared import PreparedTrack
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.progress import Progress
from mert_backfill.errors import one_line
from mert_backfill.failures import Failure, Reason, TrackError, is_permanent, is_suspect
from mert_backfill.records.journal import JournalWriter, utc_now
from mert_backfill.records.ledger import is_hopeless
from mert_backfill.records.manifest import FILE_CHANGED, PendingTrack
from mert_backfill.records.origins import is_made_of
from mert_backfill.records.past import Past
from mert_backfill.store.tracks import ALL, Need, TrackArrays
from mert_backfill.system.session import current_run

logger = logging.getLogger(__name__)

CRASHES_UNTIL_QUARANTINE = 2


@dataclass(frozen=True, eq=False)
class DecodedTrack:
    """A track on its way to a vector; `seconds` is the time that its decoding took."""

    row: PendingTrack
    seconds: float
    prepared: PreparedTrack


@dataclass(frozen=True)
class Embedding:
    """What embedded a track; `seconds` is its share of the batch's time."""

    device: str
    precision: str
    seconds: float


class Outcomes:
    """Notes what becomes of each track of a chunk; knows what became of them before.

    Parameters
    ----------
    job : ChunkJob
        The chunk.
    journal : JournalWriter
        Its journal.
    past : Past
        What the journals said when it was opened.
    on_track : callable
        Called after each track that is settled.
    """

    def __init__(
        self,
        job: ChunkJob,
        journal: JournalWriter,
        past: Past,
        on_track: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.progress = Progress(job)
        self._job = job
        self._journal = journal
        self._store = job.store
        self._state = past.state
        self._ledger = past.ledger
        self._failures = dict(past.ledger.failures)
        self._sounds = past.sounds
        self._since_ns = past.since_ns
        self._written: set[str] = set()
        self._unfinished: list[PendingTrack] = []
        self._on_track = on_track

    def unsettled(self, rows: Iterable[PendingTrack]) -> list[PendingTrack]:
        """Count the tracks that need no work, and return the others."""
        counters = self.progress.counters
        left = []
        for row in rows:
            counters["queued"] += 1
            if self.is_complete(row) and self._is_made_of_its_file(row):
                known = row.track_id in self._state.done
                counters["skipped_checkpoint" if known else "skipped_existing"] += 1
            elif is_hopeless(row, self._ledger, self._job.released):
                counters["skipped_checkpoint"] += 1
            else:
                left.append(row)
        return left

    def is_complete(self, row: PendingTrack) -> bool:
        """Tell whether all that is to be kept of a track is there."""
        return self._store.is_complete(row.track_id, self._job.need(row))

    def _is_made_of_its_file(self, row: PendingTrack) -> bool:
        if row.reason != FILE_CHANGED:
            return True
        origin = self._sounds.origin_of(row.track_id)
        return is_made_of(row, origin.file if origin else None)

    def crashes(self, row: PendingTrack) -> int:
        """Return how often the model's process died with a track, since its last outcome."""
        return self._state.crashes[row.track_id]

    def hand_over(self, rows: Iterable[PendingTrack]) -> None:
        """Note the tracks that go to the model now: they are blamed if its process dies."""
        tracks = [row.track_id for row in rows]
        self._journal.append("begin", sync=False, tracks=tracks, at=utc_now())

    def embedded(self, track: DecodedTrack, arrays: TrackArrays, by: Embedding) -> None:
        """Keep what the model made of a track."""
        self._keep(track, "embedded", arrays, by)

    def complete(self, track: DecodedTrack) -> bool:
        """Keep the harmony of a track that lacks nothing else.

        Returns
        -------
        bool
            False when it lacks more than that.
        """
        row, harmony = track.row, track.prepared.harmony
        need = self._job.need(row)
        lacking = {store.kind for store in self._store.missing(row.track_id, need)}
        beside_harmony = Need(need.vector, need.besides | {"harmonic"})
        if (
            harmony is None
            or not self._is_made_of_its_file(row)  # of what it has, the file has to be noted anew
            or lacking != {"harmonic"}
            or not self._store.is_complete(row.track_id, beside_harmony)
            or self._is_of_another_sound(track)
        ):
            return False
        self._keep(track, "existing", TrackArrays(None, {"harmonic": harmony}), None)
        return True

    def reuse(self, track: DecodedTrack) -> bool:
        """Give a track the vector that the same audio has already, under whatever name.

        Returns
        -------
        bool
            False when there is none.
        """
        harmony = track.prepared.harmony
        # its own is at hand: windows may be equal, and what lies between them not
        need = ALL if harmony is None else Need(besides=frozenset({"harmonic"}))
        for other in self._sounds.tracks_with(track.prepared.pcm_sha256):
            if self._store.is_complete(other, need):
                arrays = self._store.read(other, need)
                if not self._may_be_another_sound(other, need):
                    self._keep(track, "reused", arrays.with_harmony(harmony), None)
                    return True
        return False

    def _may_be_another_sound(self, track_id: str, need: Need) -> bool:
        """Tell whether another chunk may have replaced a vector since its sound was looked up."""
        return track_id not in self._written and self._store.written_since(
            track_id, self._since_ns, need
        )

    def take_unfinished(self) -> list[PendingTrack]:
        """Return the tracks that have their vector and lack their harmony.

        That of a track whose sound is another now: only its decoding told that.
        """
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    def failed(self, row: PendingTrack, error: TrackError, *, last_try: bool = True) -> bool:
        """Note that a track failed.

        Returns
        -------
        bool
            Whether it deserves another try in this run; it is not counted yet then. Never with
            `last_try`.
        """
        failure = self._note_failure(row, error)
        may_be_to_blame = is_suspect(error.stage, error.reason)
        if may_be_to_blame and not failure.permanent and not last_try:
            return True
        self._count("failed")
        return False

    def killed_the_process(self, row: PendingTrack) -> None:
        """Quarantine a track that took the model's process down each time it was tried."""
        times = CRASHES_UNTIL_QUARANTINE
        text = f"the process died {times} times while this track was in the model"
        error = TrackError("embed", Reason.EMBED_ERROR, text)
        self._note_failure(row, error, tries=times, permanent=True)
        self._count("failed")

    def _keep(
        self, track: DecodedTrack, status: str, arrays: TrackArrays, by: Embedding | None
    ) -> None:
        """Note a vector and then write it: one in the store always has its record.

        One that takes the place of another sound's is announced before, and noted after: what is
        noted of the old one is true until the new one has its name.
        """
        row, profile = track.row, self._job.profile.name
        origin = self._sounds.origin_of(row.track_id)
        at = utc_now(after=origin.at if origin else "")
        told: dict[str, Any] = {"row": _record(track, status, by), "profile": profile, "at": at}
        replaces = self._is_of_another_sound(track)
        if replaces:
            announced: dict[str, Any] = {"track_id": row.track_id, "profile": profile, "at": at}
            self._journal.append("replacing", **announced)
            self._sounds.learn({"event": "replacing", **announced})
        else:
            self._journal.append(status, **told)
        try:
            (self._store.replace if replaces else self._store.write)(row.track_id, arrays)
        except OSError as error:
            self.failed(row, TrackError("write", Reason.WRITE_ERROR, one_line(error)))
            return
        except ValueError as error:
            self.failed(row, TrackError("embed", Reason.EMBED_ERROR, one_line(error)))
            return
        if replaces:
            self._journal.append(status, **told)
        self._failures.pop(row.track_id, None)
        self._sounds.learn({"event": status, **told})
        self._written.add(row.track_id)
        if self.is_complete(row):
            self._count("succeeded")
        else:
            self._unfinished.append(row)

    def _is_of_another_sound(self, track: DecodedTrack) -> bool:
        """Tell whether what the store may hold of a track was made of another sound."""
        origin = self._sounds.origin_of(track.row.track_id)
        if origin is None:
            return track.row.reason == FILE_CHANGED
        return origin.sound != track.prepared.pcm_sha256

    def _note_failure(
        self, row: PendingTrack, error: TrackError, *, tries: int = 1, permanent: bool = False
    ) -> Failure:
        size_bytes, mtime_ns = _stat(row)
        previous = self._failures.get(row.track_id)
        if previous is not None and not previous.is_of_file(size_bytes, mtime_ns):
            previous = None
        failure = Failure(
            path=row.path,
            track_id=row.track_id,
            chunk=self._job.name,
            stage=error.stage,
            reason=error.reason.value,
            error=error.error,
            permanent=permanent or is_permanent(error, previous),
            attempts=(previous.attempts if previous else 0) + tries,
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            timestamp=utc_now(),
        )
        if failure.permanent and row.reason == FILE_CHANGED:
            self._store.set_aside(row.track_id)  # no row may claim it for what the file is now
        self._journal.append("failed", failure=failure.as_record(), run=current_run())
        self._failures[row.track_id] = failure
        logger.warning("%r: %s: %s", row.path, failure.reason, failure.error)
        return failure

    def _count(self, outcome: str) -> None:
        self.progress.count(outcome)
        self._on_track(self.progress)


def _record(track: DecodedTrack, status: str, by: Embedding | None) -> dict[str, Any]:
    """Return what the journal tells of a track that has its vector."""
    row, prepared = track.row, track.prepared
    return {
        "track_id": row.track_id,
        "path": row.path,
        "status": status,
        "seconds_decode": round(track.seconds, 3),
        "seconds_embed": _rounded(by.seconds if by else None),
        "duration_s": round(prepared.duration_s, 3),
        "sample_rate": prepared.sample_rate,
        "pcm_sha256": prepared.pcm_sha256,
        "artist": prepared.tags.artist,
        "title": prepared.tags.title,
        "device": by.device if by else None,
        "precision": by.precision if by else None,
        "remark": prepared.remark,
        "seconds_harmonic": _rounded(prepared.seconds_harmonic),
        # of the scan: a file that has changed since is decoded once more, and not once too little
        "size_bytes": row.size_bytes,
        "mtime_ns": row.mtime_ns,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _stat(row: PendingTrack) -> tuple[int, int]:
    """Return size and mtime of the track's file now, or those of the scan when it is gone."""
    try:
        stat = os.stat(row.path)
    except (OSError, ValueError):
        return row.size_bytes, row.mtime_ns
    return stat.st_size, stat.st_mtime_ns
