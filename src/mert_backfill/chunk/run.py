"""One chunk: every track of it ends with a vector or with a failure record.

`ChunkRun` works in the process that holds the model and may die at any moment; what it has done
is in the store and in the journal. `mert_backfill.chunk.finish` makes the tables from them.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np

from mert_backfill.audio.decode import PreparedTrack
from mert_backfill.audio.pool import DecodeResult
from mert_backfill.config import Root, Runtime
from mert_backfill.errors import UserError, one_line
from mert_backfill.failures import SUSPECT, Failure, Reason, TrackError, is_permanent
from mert_backfill.model.embedding import WindowEmbedding, track_vector
from mert_backfill.model.info import ModelInfo
from mert_backfill.plan.gaps import GapRow, read_manifest
from mert_backfill.records.journal import JOURNAL_ENDING, JournalState, JournalWriter, read_journal
from mert_backfill.records.ledger import Ledger, read_ledger
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import SidecarKind, TrackArrays, TrackStore, open_track_store
from mert_backfill.system.tables import write_json

logger = logging.getLogger(__name__)

CRASHES_UNTIL_QUARANTINE = 2
# what a drive that went away looks like from a single track
_MAYBE_THE_ROOT = {Reason.FILE_MISSING, Reason.PERMISSION_DENIED, Reason.IO_ERROR}


@dataclass(frozen=True)
class ChunkJob:
    """Everything that a chunk needs to know.

    Attributes
    ----------
    name : str
        ``partNNN-HASH``.
    table : Path
        The chunk file, a slice of the manifest.
    results : Path
        The results folder.
    released : mapping
        Tracks that are to be tried again although they failed for good, and after how many
        attempts they were released.
    threads : int
        Threads of the model's arithmetic.
    """

    name: str
    table: Path
    results: Path
    roots: tuple[Root, ...]
    model: ModelInfo
    profile: Profile
    runtime: Runtime
    checkpoint_every: int
    sidecars: tuple[SidecarKind, ...]
    released: Mapping[str, int]
    threads: int

    @property
    def folder(self) -> Path:
        """Where the chunk's tables are."""
        return self.results / "chunks"

    @property
    def journal(self) -> Path:
        """The chunk's journal."""
        return self.folder / f"{self.name}{JOURNAL_ENDING}"

    @property
    def checkpoint(self) -> Path:
        """The chunk's checkpoint file."""
        return self.folder / f"{self.name}.checkpoint.json"

    @property
    def store(self) -> TrackStore:
        """The store of the chunk's profile."""
        return open_track_store(self.results, self.profile, self.sidecars)


class WindowEncoder(Protocol):
    """What turns windows into vectors; see `mert_backfill.model.encoder.Encoder`."""

    device: str
    precision: str
    tracks_per_batch: int

    def encode(
        self, windows: Sequence[np.ndarray], *, all_layers: bool = False
    ) -> list[WindowEmbedding | TrackError]:
        """Return one embedding, or the reason why there is none, for each window."""
        ...


class TrackDecoder(Protocol):
    """What decodes tracks in order to be embedded; see `mert_backfill.audio.pool`."""

    def decode(self, tracks: Iterator[tuple[str, str]]) -> Iterator[DecodeResult]:
        """Yield the results of the tracks (id, path), in the order in which they are ready."""
        ...


def is_hopeless(row: GapRow, ledger: Ledger, released: Mapping[str, int]) -> bool:
    """Tell whether a track failed for good, its file is unchanged and nobody asks to retry."""
    failure = ledger.failures.get(row.track_id)
    return (
        failure is not None
        and failure.permanent
        and failure.is_of(row.size_bytes, row.mtime_ns)
        and failure.attempts > released.get(row.track_id, 0)
    )


@dataclass
class Progress:
    """Counts what happens, and writes the checkpoint file."""

    job: ChunkJob
    counters: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=monotonic)

    @property
    def settled(self) -> int:
        """Tracks that need no more work."""
        return sum(self.counters[name] for name in ("succeeded", "failed")) + self.skipped

    @property
    def skipped(self) -> int:
        """Tracks that needed no work in this run."""
        return self.counters["skipped_existing"] + self.counters["skipped_checkpoint"]

    def count(self, outcome: str) -> None:
        """Count one track; write the checkpoint file when its time has come."""
        self.counters[outcome] += 1
        worked = self.counters["succeeded"] + self.counters["failed"]
        if worked % self.job.checkpoint_every == 0:
            self.write("running")
            logger.info(
                "%s: %d of %d tracks done", self.job.name, self.settled, self.counters["queued"]
            )

    def write(self, status: str) -> None:
        """Write the checkpoint file."""
        worked = self.counters["succeeded"] + self.counters["failed"]
        rate = worked / max(monotonic() - self.started, 1e-9)
        left = self.counters["queued"] - self.settled
        write_json(
            self.job.checkpoint,
            {
                "chunk": self.job.name,
                "profile": self.job.profile.name,
                "sidecars": list(self.job.sidecars),
                "status": status,
                "counters": {
                    name: self.counters[name]
                    for name in (
                        "queued",
                        "succeeded",
                        "failed",
                        "skipped_existing",
                        "skipped_checkpoint",
                    )
                },
                "updated_at": utc_now(),
                "tracks_per_second": round(rate, 4) if worked else None,
                "eta_s": round(left / rate, 1) if worked else (None if left else 0.0),
            },
        )


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
        self._ledger = read_ledger(job.folder, job.profile.name)
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

    def _skip_finished(self, state: JournalState) -> list[GapRow]:
        queue = []
        self._again: list[GapRow] = []
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

    def _embed(self, rows: Iterator[GapRow]) -> None:
        batch: list[tuple[GapRow, DecodeResult, PreparedTrack]] = []
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

    def _embed_batch(self, batch: list[tuple[GapRow, DecodeResult, PreparedTrack]]) -> None:
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

    def _reuse(self, row: GapRow, result: DecodeResult, prepared: PreparedTrack) -> bool:
        """Take the vector that the same audio has already, under whatever name."""
        for other in self._vectors.get(prepared.pcm_sha256, ()):
            if self._store.is_complete(other):
                arrays = self._store.read(other)
                self._record(row, result, prepared, "reused", arrays, None, None)
                return True
        return False

    def _record(
        self,
        row: GapRow,
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

    def _fail(self, row: GapRow, error: TrackError) -> None:
        if error.reason in _MAYBE_THE_ROOT:
            check_roots_are_there(self.job.roots, self._devices)
        failure = self._record_failure(row, error)
        if error.reason in SUSPECT and not failure.permanent and not self._is_last_try:
            self._again.append(row)
        else:
            self._count("failed")

    def _quarantine_killer(self, row: GapRow) -> None:
        """Record a track that took the model's process down each time it was tried."""
        times = CRASHES_UNTIL_QUARANTINE
        text = f"the process died {times} times while this track was in the model"
        error = TrackError("embed", Reason.EMBED_ERROR, text)
        self._record_failure(row, error, tries=times, permanent=True)
        self._count("failed")

    def _record_failure(
        self, row: GapRow, error: TrackError, *, tries: int = 1, permanent: bool = False
    ) -> Failure:
        size_bytes, mtime_ns = _stat(row)
        previous = self._failures.get(row.track_id)
        if previous is not None and not previous.is_of(size_bytes, mtime_ns):
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


def check_roots_are_there(
    roots: Sequence[Root], devices: Mapping[str, int | None] | None = None
) -> None:
    """Refuse to go on when a music root has vanished (unmounted, unplugged, renamed).

    Parameters
    ----------
    roots : sequence of Root
        The music roots.
    devices : mapping, optional
        The device of each root's folder when the chunk began, by root name.

    Raises
    ------
    UserError
        A root is gone, empty, or lies on another device than before.
    """
    for root in roots:
        device = device_of(root)
        if device is None or (devices is not None and device != devices[root.name]):
            raise UserError(
                f"library.roots: {root.name!r} ({root.path}) has vanished; mount it again and run "
                "the same command (no track was marked as failed)"
            )


def device_of(root: Root) -> int | None:
    """Return the device number of a root's folder, or None when it is gone or empty."""
    try:
        with os.scandir(root.path) as entries:
            return os.stat(root.path).st_dev if next(entries, None) is not None else None
    except OSError:
        return None


def _stat(row: GapRow) -> tuple[int, int]:
    """Return size and mtime of the track's file now, or those of the scan when it is gone."""
    try:
        stat = os.stat(row.path)
    except (OSError, ValueError):
        return row.size_bytes, row.mtime_ns
    return stat.st_size, stat.st_mtime_ns


def utc_now() -> str:
    """Return the time now, in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
