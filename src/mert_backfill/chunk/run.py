"""One chunk: every track of it ends with a vector or with a failure record.

`ChunkRun` works in the process that holds the model and may die at any moment; what it has done
is in the store and in the journal. `mert_backfill.chunk.finish` makes the tables from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic

from mert_backfill.audio.prepared import TrackDecoder
from mert_backfill.chunk.job import ChunkJob
from mert_backfill.chunk.outcomes import (
    CRASHES_UNTIL_QUARANTINE,
    DecodedTrack,
    Embedding,
    Outcomes,
)
from mert_backfill.chunk.progress import Progress
from mert_backfill.failures import Reason, TrackError
from mert_backfill.library.roots import check_roots_are_there, device_of
from mert_backfill.model.embedding import WindowEmbedding, WindowEncoder, track_vector
from mert_backfill.records.journal import JournalWriter
from mert_backfill.records.manifest import PendingTrack, read_manifest
from mert_backfill.records.past import read_past
from mert_backfill.store.tracks import TrackArrays, TrackStore

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
        Called after each track.
    """

    def __init__(
        self,
        job: ChunkJob,
        make_encoder: Callable[[], WindowEncoder],
        decoder: TrackDecoder,
        on_track: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._job = job
        self._make_encoder = make_encoder
        self._decoder = decoder
        self._on_track = on_track
        self._encoder: WindowEncoder | None = None
        self._store = job.store
        check_roots_are_there(job.roots)
        self._devices = {root.name: device_of(root) for root in job.roots}

    def run(self) -> Progress:
        """Work through the chunk.

        Raises
        ------
        UserError
            The disk is full or a music root has vanished: the chunk stops at once, and the
            track at hand is not marked as failed.
        """
        job = self._job
        rows = read_manifest(job.table)
        with JournalWriter(job.journal) as journal:
            journal.append("begin", sync=False, tracks=[])
            past = read_past(
                job.results,
                job.name,
                [row.track_id for row in rows],
                job.profile.name,
                since_ns=journal.written_ns,
            )
            outcomes = Outcomes(job, journal, past, self._on_track)
            left = outcomes.unsettled(rows)
            outcomes.progress.write()
            again = self._embed([row for row in left if not outcomes.crashes(row)], outcomes)
            suspects = again + [row for row in left if outcomes.crashes(row)]
            for row in suspects:  # alone, so that nobody else is blamed
                if outcomes.crashes(row) >= CRASHES_UNTIL_QUARANTINE:
                    outcomes.killed_the_process(row)
                elif unfinished := self._embed([row], outcomes, last_try=True):
                    self._embed(unfinished, outcomes, last_try=True)
            outcomes.progress.write()
        return outcomes.progress

    def _embed(
        self, rows: Sequence[PendingTrack], outcomes: Outcomes, *, last_try: bool = False
    ) -> list[PendingTrack]:
        """Settle some tracks; return those that deserve another try."""
        again: list[PendingTrack] = []
        batch: list[DecodedTrack] = []
        for track in self._decode(rows, outcomes, again, last_try=last_try):
            batch.append(track)
            if self._encoder is None:
                self._encoder = self._make_encoder()
            if len(batch) >= self._encoder.tracks_per_batch:
                self._embed_batch(batch, self._encoder, outcomes)
                batch = []
        if batch and self._encoder is not None:
            self._embed_batch(batch, self._encoder, outcomes)
        return again + outcomes.take_unfinished()

    def _decode(
        self,
        rows: Sequence[PendingTrack],
        outcomes: Outcomes,
        again: list[PendingTrack],
        *,
        last_try: bool,
    ) -> Iterator[DecodedTrack]:
        """Yield the tracks that the model has to see; `again` gets those to be tried again."""
        by_id = {row.track_id: row for row in rows}
        for result in self._decoder.decode((row.track_id, row.path) for row in rows):
            row = by_id[result.track_id]
            if result.prepared is not None:
                track = DecodedTrack(row, result.seconds, result.prepared)
                if not (outcomes.complete(track) or outcomes.reuse(track)):
                    yield track
            elif result.error is not None:
                if result.error.reason in _MAYBE_THE_ROOT:
                    check_roots_are_there(self._job.roots, self._devices)
                if outcomes.failed(row, result.error, last_try=last_try):
                    again.append(row)

    def _embed_batch(
        self, batch: Sequence[DecodedTrack], encoder: WindowEncoder, outcomes: Outcomes
    ) -> None:
        outcomes.hand_over(track.row for track in batch)
        windows = [window for track in batch for window in track.prepared.windows]
        started = monotonic()
        made = iter(
            encoder.encode(
                windows,
                lengths=model_lengths(batch) if self._job.profile.recipe.is_padded else None,
                all_layers="layers" in self._job.sidecars,
            )
        )
        seconds = (monotonic() - started) / len(batch)
        for track in batch:
            windows_made = {name: next(made) for name in track.prepared.window_names}
            arrays = track_arrays(windows_made, self._store)
            if isinstance(arrays, TrackError):
                outcomes.failed(track.row, arrays)
            else:
                by = Embedding(encoder.device, encoder.precision, seconds)
                outcomes.embedded(track, arrays.with_harmony(track.prepared.harmony), by)


def model_lengths(tracks: Iterable[DecodedTrack]) -> list[int]:
    """Return the length of the longest window of its track, for each window (in samples)."""
    return [
        max(map(len, track.prepared.windows)) for track in tracks for _ in track.prepared.windows
    ]


def track_arrays(
    windows: dict[str, WindowEmbedding | TrackError], store: TrackStore
) -> TrackArrays | TrackError:
    """Return all that is kept of what the model makes, or the first error of a track's windows.

    Parameters
    ----------
    windows : dict
        What the model made of the track's windows, by their names.
    store : TrackStore
        Says which sidecars are kept.
    """
    parts: dict[str, WindowEmbedding] = {}
    for name, made in windows.items():
        if isinstance(made, TrackError):
            return made
        parts[name] = made
    return TrackArrays(
        track_vector([part.final for part in parts.values()]),
        {
            sidecar.kind: sidecar.assemble(parts)
            for sidecar in store.sidecars
            if sidecar.kind != "harmonic"
        },
    )
