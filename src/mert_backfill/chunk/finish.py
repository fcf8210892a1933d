"""The tables of a chunk, made from its journal and the store when all its tracks are settled."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.records.journal import read_journal, utc_now
from mert_backfill.records.manifest import FILE_CHANGED, read_manifest
from mert_backfill.records.past import failures_of, runs_failed_alike
from mert_backfill.records.tracks import TRACKS_HEADER, row_fields
from mert_backfill.system.tables import write_jsonl, write_tsv

logger = logging.getLogger(__name__)

RUNS_UNTIL_UNRESOLVED = 3


def finish_chunk(job: ChunkJob) -> None:
    """Write ``failed.jsonl``, the last checkpoint and, last of all, ``tracks.tsv``.

    Raises
    ------
    UserError
        Some tracks failed for reasons that may pass. Their records are written, ``tracks.tsv``
        is not: the chunk stays open, and the next run tries them again. What has failed alike in
        `RUNS_UNTIL_UNRESOLVED` runs no longer keeps it open.
    """
    rows, failures = _settled_tracks(job)
    write_jsonl(job.results.chunk_failures(job.name), (failure.as_record() for failure in failures))
    _check_nothing_open(job, failures, len(rows))
    checkpoint = Checkpoint.read(job.checkpoint)
    replace(checkpoint, status="completed", updated_at=utc_now()).write(job.checkpoint)
    # a column more for who asks for what takes more
    header = (*TRACKS_HEADER, *(["seconds_harmonic"] if "harmonic" in job.sidecars else []))
    fields = (row_fields(row, header) for row in rows)
    write_tsv(job.results.tracks_table(job.name), header, fields)


def _settled_tracks(job: ChunkJob) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Return the row of each track, and the failures among them."""
    journal, store = read_journal(job.journal), job.store
    tracks = read_manifest(job.table)
    complete = {
        track.track_id
        for track in tracks
        # of one whose file changed the vector may still be the old one
        if not (track.reason == FILE_CHANGED and track.track_id in journal.failed)
        and store.is_complete(track.track_id, job.need(track))
    }
    unknown = {track.track_id for track in tracks} - complete - journal.failed.keys()
    failed = {**_failed_elsewhere(job, unknown), **journal.failed}
    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for track in tracks:
        row: dict[str, Any] = {"track_id": track.track_id, "path": track.path}
        if track.track_id in complete:
            rows.append({"status": "existing"} | journal.done.get(track.track_id, {}) | row)
        elif track.track_id in failed:
            rows.append({"status": "failed"} | row)
            failures.append(failed[track.track_id])
        else:
            raise UserError(
                f"{store.vectors.path(track.track_id)}: the vector vanished while the chunk ran; "
                "run the same command again"
            )
    return rows, failures


def _failed_elsewhere(job: ChunkJob, tracks: Collection[str]) -> dict[str, Failure]:
    """Return the failures of tracks of which the chunk's own journal tells no failure."""
    return failures_of(job.results, tracks) if tracks else {}


def _check_nothing_open(job: ChunkJob, failures: Sequence[Failure], tracks: int) -> None:
    passing = [failure for failure in failures if not failure.permanent]
    if not passing:
        return
    runs = runs_failed_alike(job.results, [failure.track_id for failure in passing])
    reasons = Counter(failure.reason for failure in passing)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    what = (
        f"{job.name}: {len(passing)} of {tracks} tracks failed for reasons that may pass ({told})"
    )
    if all(runs[failure.track_id] >= RUNS_UNTIL_UNRESOLVED for failure in passing):
        logger.warning(
            "%s, as in the runs before; meta.json is made without them, and each run tries them "
            "again: list them in library.exclude_file to leave them out",
            what,
        )
        return
    raise UserError(
        f"{what}; all others are done, run the same command again to retry these (what fails alike "
        f"in {RUNS_UNTIL_UNRESOLVED} runs no longer keeps meta.json from being made; "
        "library.exclude_file leaves it out)"
    )
