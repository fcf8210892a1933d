"""The tables of a chunk, made from its journal and the store when all its tracks are settled."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mert_backfill.chunk.run import ChunkJob, utc_now
from mert_backfill.errors import UserError
from mert_backfill.failures import Failure
from mert_backfill.plan.gaps import read_manifest
from mert_backfill.records.journal import read_journal
from mert_backfill.records.ledger import read_ledger
from mert_backfill.system.tables import write_json, write_jsonl, write_tsv

TRACKS_HEADER = (
    "track_id",
    "path",
    "status",
    "seconds_decode",
    "seconds_embed",
    "duration_s",
    "sample_rate",
    "pcm_sha256",
    "device",
    "precision",
)


def finish_chunk(job: ChunkJob) -> None:
    """Write ``failed.jsonl``, the last checkpoint and, last of all, ``tracks.tsv``.

    Raises
    ------
    UserError
        Some tracks failed for reasons that may pass. Their records are written, ``tracks.tsv``
        is not: the chunk stays open, and the next run tries them again.
    """
    journal = read_journal(job.journal)
    known_failures = {**read_ledger(job.folder, job.profile.name).failures, **journal.failed}
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
    write_jsonl(
        job.folder / f"{job.name}.failed.jsonl", (failure.as_record() for failure in failures)
    )
    open_failures = [failure for failure in failures if not failure.permanent]
    if open_failures:
        reasons = Counter(failure.reason for failure in open_failures)
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        raise UserError(
            f"{job.name}: {len(open_failures)} of {len(rows)} tracks failed for reasons that may "
            f"pass ({told}); all others are done, run the same command again to retry these"
        )
    checkpoint = json.loads(job.checkpoint.read_text(encoding="utf-8"))
    write_json(job.checkpoint, {**checkpoint, "status": "completed", "updated_at": utc_now()})
    write_tsv(tracks_table(job.folder, job.name), TRACKS_HEADER, map(_fields, rows))


def tracks_table(chunks: Path, name: str) -> Path:
    """Return where the table of a finished chunk lies."""
    return chunks / f"{name}.tracks.tsv"


def finished_chunks(chunks: Path, profile: str) -> dict[str, frozenset[str]]:
    """Return the finished chunks embedded under a profile, and the sidecars made with them."""
    ending = ".tracks.tsv"
    found = {}
    for path in sorted(chunks.glob(f"*{ending}")):
        name = path.name.removesuffix(ending)
        try:
            checkpoint = json.loads((chunks / f"{name}.checkpoint.json").read_bytes())
            if checkpoint["profile"] == profile:
                found[name] = frozenset(checkpoint["sidecars"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _fields(row: dict[str, Any]) -> list[object]:
    return [row.get(name) for name in TRACKS_HEADER]
