"""The tables of a chunk, made from its journal and the store when all its tracks are settled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from mert_backfill.chunk.job import ChunkJob
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.records.checkpoint import Checkpoint
from mert_backfill.records.journal import read_journal, utc_now
from mert_backfill.records.ledger import read_ledger
from mert_backfill.records.manifest import read_manifest
from mert_backfill.records.tracks import TRACKS_HEADER, row_fields
from mert_backfill.system.tables import write_jsonl, write_tsv


def finish_chunk(job: ChunkJob) -> None:
    """Write ``failed.jsonl``, the last checkpoint and, last of all, ``tracks.tsv``.

    Raises
    ------
    UserError
        Some tracks failed for reasons that may pass. Their records are written, ``tracks.tsv``
        is not: the chunk stays open, and the next run tries them again.
    """
    journal = read_journal(job.journal)
    known_failures = {**read_ledger(job.results, job.profile.name).failures, **journal.failed}
    store = job.store
    rows: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for track in read_manifest(job.table):
        row: dict[str, Any] = {"track_id": track.track_id, "path": track.path}
        failure = known_failures.get(track.track_id)
        if store.is_complete(track.track_id):
            rows.append({"status": "existing"} | journal.done.get(track.track_id, {}) | row)
        elif failure is not None:
            rows.append({"status": "failed"} | row)
            failures.append(failure)
        else:
            raise UserError(
                f"{store.vectors.path(track.track_id)}: the vector vanished while the chunk ran; "
                "run the same command again"
            )
    write_jsonl(job.results.chunk_failures(job.name), (failure.as_record() for failure in failures))
    open_failures = [failure for failure in failures if not failure.permanent]
    if open_failures:
        reasons = Counter(failure.reason for failure in open_failures)
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        raise UserError(
            f"{job.name}: {len(open_failures)} of {len(rows)} tracks failed for reasons that may "
            f"pass ({told}); all others are done, run the same command again to retry these"
        )
    checkpoint = Checkpoint.read(job.checkpoint)
    replace(checkpoint, status="completed", updated_at=utc_now()).write(job.checkpoint)
    write_tsv(job.results.tracks_table(job.name), TRACKS_HEADER, map(row_fields, rows))
