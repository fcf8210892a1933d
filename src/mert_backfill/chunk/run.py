"""One chunk: every track of it ends with a vector or with a failure record.

`ChunkRun` works in the process that holds the model and may die at any moment; what it has done
is in the store and in the journal. `mert_backfill.chunk.finish` makes the tables from them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from time import monotonic

from mert_backfill.audio.prepared import DecodeResult, PreparedTrack, TrackDecoder
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.progress import Progress
from mert_backfill.errors import one_line
from mert_backfill.failures import SUSPECT, Failure, Reason, TrackError, is_permanent
from mert_backfill.library.roots import check_roots_are_there, device_of
from mert_backfill.model.embedding import WindowEmbedding, WindowEncoder, track_vector
from mert_backfill.records.journal import (
    JournalState,
    JournalWriter,
    read_journal,
    utc_now,
)
from mert_backfill.records.ledger import is_hopeless, read_ledger
from mert_backfill.records.manifest import PendingTrack, read_manifest
from mert_backfill.store.tracks import TrackArrays

logger = logging.getLogger(__name__)

CRASHES_UNTIL_QUARANTINE = 2
# what a drive that went away looks like from a single track
_MAYBE_THE_ROOT = {Reason.FILE_MISSING, Reason.PERMISSION_DENIED, Reason.IO_ERROR}


class ChunkRun:
    """Embeds the tracks of one chunk.

    Parameters
    ----------
    job : ChunkJob
        What to do.
    make_encoder : callable
        Returns the encoder. It is called once at most, and not at all when no track of the
        chunk reaches the model.
    decoder : TrackDecoder
        Decodes the tracks, ahead of the encoder.
    on_track : callable
        Called after each track, for a progress bar.
    """

    def __init__(
        self,
        job: ChunkJob,
        make_encoder: Callable[[], WindowEncoder],
        decoder: TrackDecoder,
        on_track: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.job = job
        self._make_encoder = make_encoder
        self._decoder = decoder
        self._on_track = on_track
        self._encoder: WindowEncoder | None = None
        self._store = job.store
        self._rows = {row.track_id: row for row in read_manifest(job.table)}
        self._ledger = read_ledger(job.results, job.profile.name)
        self._failures = dict(self._ledger.failures)
        self._vectors = {digest: list(ids) for digest, ids in self._ledger.vectors.items()}
        check_roots_are_there(job.roots)
        self._devices = {root.name: device_of(root) for root in job.roots}
        self.progress = Progress(job)

    def run(self) -> Progress:
        """Work through the chunk.

        Raises
        ------
        UserError
            The disk is full or a music root has vanished: the chunk stops at once, and the
            track at hand is not marked as failed.
        """
        with JournalWriter(self.job.journal) as journal:
            self._journal = journal
            state = read_journal(self.job.journal)
            journal.append("begin", sync=False, tracks=[])
            queue = self._skip_finished(state)
            self.progress.write("running")
            suspects = [row for row in queue if state.crashes[row.track_id]]
            self._embed(row for row in queue if not state.crashes[row.track_id])
            self._is_last_try = True
            for row in self._again + suspects:  # alone, so that nobody else is blamed
                if state.crashes[row.track_id] >= CRASHES_UNTIL_QUARANTINE:
                    self._quarantine_killer(row)
                else:
                    self._embed(iter([row]))
            self.progress.write("running")
        return self.progress

    def _skip_finished(self, state: JournalState) -> list[PendingTrack]:
        queue = []
        self._again: list[PendingTrack] = []
        self._is_last_try = False
        self.progress.counters["queued"] = len(self._rows)
        for row in self._rows.values():
            if self._store.is_complete(row.track_id):
                known = row.track_id in state.done
                self.progress.counters["skipped_checkpoint" if known else "skipped_existing"] += 1
            elif is_hopeless(row, self._ledger, self.job.released):
                self.progress.counters["skipped_checkpoint"] += 1
            else:
                queue.append(row)
        return queue

    def _embed(self, rows: Iterator[PendingTrack]) -> None:
        batch: list[tuple[PendingTrack, DecodeResult, PreparedTrack]] = []
        results = self._decoder.decode((row.track_id, row.path) for row in rows)
        for result in results:
            row = self._rows[result.track_id]
            if result.error is not None:
                self._fail(row, result.error)
                continue
            assert result.prepared is not None
            if self._reuse(row, result, result.prepared):
                continue
            batch.append((row, result, result.prepared))
            if self._encoder is None:
                self._encoder = self._make_encoder()
            if len(batch) >= self._encoder.tracks_per_batch:
                self._embed_batch(batch)
                batch = []
        if batch:
            self._embed_batch(batch)

    def _embed_batch(self, batch: list[tuple[PendingTrack, DecodeResult, PreparedTrack]]) -> None:
        assert self._encoder is not None
        self._journal.append("begin", sync=False, tracks=[row.track_id for row, _, _ in batch])
        windows = [window for _, _, prepared in batch for window in prepared.windows]
        started = monotonic()
        outcomes = iter(self._encoder.encode(windows, all_layers="layers" in self.job.sidecars))
        seconds = (monotonic() - started) / len(batch)
        for row, result, prepared in batch:
            parts: dict[str, WindowEmbedding] = {}
            errors: list[TrackError] = []
            for name in prepared.window_names:
                outcome = next(outcomes)
                if isinstance(outcome, TrackError):
                    errors.append(outcome)
                else:
                    parts[name] = outcome
            if errors:
                self._fail(row, errors[0])
                continue
            arrays = TrackArrays(
                track_vector([part.final for part in parts.values()]),
                {store.kind: store.assemble(parts) for store in self._store.sidecars},
            )
            self._record(row, result, prepared, "embedded", arrays, seconds, self._encoder)

    def _reuse(self, row: PendingTrack, result: DecodeResult, prepared: PreparedTrack) -> bool:
        """Take the vector that the same audio has already, under whatever name."""
        for other in self._vectors.get(prepared.pcm_sha256, ()):
            if self._store.is_complete(other):
                arrays = self._store.read(other)
                self._record(row, result, prepared, "reused", arrays, None, None)
                return True
        return False

    def _record(
        self,
        row: PendingTrack,
        result: DecodeResult,
        prepared: PreparedTrack,
        status: str,
        arrays: TrackArrays,
        seconds_embed: float | None,
        encoder: WindowEncoder | None,
    ) -> None:
        record = {
            "track_id": row.track_id,
            "path": row.path,
            "status": status,
            "seconds_decode": round(result.seconds, 3),
            "seconds_embed": None if seconds_embed is None else round(seconds_embed, 3),
            "duration_s": round(prepared.duration_s, 3),
            "sample_rate": prepared.sample_rate,
            "pcm_sha256": prepared.pcm_sha256,
            "device": encoder.device if encoder else None,
            "precision": encoder.precision if encoder else None,
        }
        self._journal.append(status, row=record, profile=self.job.profile.name, at=utc_now())
        try:
            self._store.write(row.track_id, arrays)
        except (OSError, ValueError) as error:
            text = one_line(error)
            if isinstance(error, OSError):
                self._fail(row, TrackError("write", Reason.WRITE_ERROR, text))
            else:
                self._fail(row, TrackError("embed", Reason.EMBED_ERROR, text))
            return
        self._failures.pop(row.track_id, None)
        self._vectors.setdefault(prepared.pcm_sha256, []).append(row.track_id)
        self._count("succeeded")

    def _fail(self, row: PendingTrack, error: TrackError) -> None:
        if error.reason in _MAYBE_THE_ROOT:
            check_roots_are_there(self.job.roots, self._devices)
        failure = self._record_failure(row, error)
        if error.reason in SUSPECT and not failure.permanent and not self._is_last_try:
            self._again.append(row)
        else:
            self._count("failed")

    def _quarantine_killer(self, row: PendingTrack) -> None:
        """Record a track that took the model's process down each time it was tried."""
        times = CRASHES_UNTIL_QUARANTINE
        text = f"the process died {times} times while this track was in the model"
        error = TrackError("embed", Reason.EMBED_ERROR, text)
        self._record_failure(row, error, tries=times, permanent=True)
        self._count("failed")

    def _record_failure(
        self, row: PendingTrack, error: TrackError, *, tries: int = 1, permanent: bool = False
    ) -> Failure:
        size_bytes, mtime_ns = _stat(row)
        previous = self._failures.get(row.track_id)
        if previous is not None and not previous.is_of_file(size_bytes, mtime_ns):
            previous = None
        failure = Failure(
            path=row.path,
            track_id=row.track_id,
            chunk=self.job.name,
            stage=error.stage,
            reason=error.reason.value,
            error=error.error,
            permanent=permanent or is_permanent(error.reason, previous),
            attempts=(previous.attempts if previous else 0) + tries,
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            timestamp=utc_now(),
        )
        self._journal.append("failed", failure=failure.as_record())
        self._failures[row.track_id] = failure
        logger.warning("%r: %s: %s", row.path, failure.reason, failure.error)
        return failure

    def _count(self, outcome: str) -> None:
        self.progress.count(outcome)
        self._on_track(self.progress)


def _stat(row: PendingTrack) -> tuple[int, int]:
    """Return size and mtime of the track's file now, or those of the scan when it is gone."""
    try:
        stat = os.stat(row.path)
    except (OSError, ValueError):
        return row.size_bytes, row.mtime_ns
    return stat.st_size, stat.st_mtime_ns
