"""What the report shows, made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mert_backfill.failures import Failure
from mert_backfill.health.audit import AuditRecord
from mert_backfill.health.counts import LibraryCounters, RowCounters, TrackCounters
from mert_backfill.health.coverage import FolderCoverage
from mert_backfill.health.history import HistoryEntry
from mert_backfill.health.report import ReportInputs
from mert_backfill.library.roots import Root
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.summary import Summary
from mert_backfill.records.tracks import ChunkSummary, TrackRow
from mert_backfill.store.profile import Profile

HOSTILE = '/m/<script>alert(1)</script> |a| `b`\n*c* \udcff & "q" \u202egpj.exe [x](http://e) .mp3'
PROFILE = Profile(
    recipe=CANONICAL,
    name="canonical-0123abcd",
    fingerprint="0123abcd" * 8,
    identity={},
    dimension=64,
    layers=4,
    model_name="demo/mert",
    revision=None,
)
SCAN = {
    "audio_files_found": 24,
    "junk_files_total": 1,
    "excluded_audio_files_total": 0,
    "quarantined_total": 2,
    "audio_files_scanned": 21,
    "already_embedded_total": 8,
    "pending_embedding_total": 13,
    "missing_meta_total": 9,
    "missing_embedding_ref_total": 4,
    "changed_since_embedded_total": 0,
}
SUMMARY = Summary(SCAN, {})
BEFORE = RowCounters(
    tracks_total=15,
    embedding_ok=8,
    embedding_gap_total=7,
    missing_embedding_ref=5,
    embedding_file_missing=1,
    embedding_invalid=1,
)
NOW = replace(
    BEFORE,
    tracks_total=24,
    embedding_ok=21,
    embedding_gap_total=3,
    missing_embedding_ref=2,
    embedding_file_missing=0,
    failed_total=1,
    quarantined_total=1,
)
LIBRARY = LibraryCounters(
    before=TrackCounters(tracks=23, embedded=8, open=15),
    now=TrackCounters(tracks=23, embedded=21, quarantined=1, open=1),
)
ENTRY = HistoryEntry("2026-11-22T12:00:00+00:00", NOW, RowCounters(), LIBRARY)
CHUNK = ChunkSummary(
    name="part001-0123abcd",
    tracks=6,
    embedded=4,
    existing=1,
    reused=0,
    failed=1,
    tracks_per_second=0.75,
    seconds_decode=1.25,
    seconds_embed=1234.5,
)

FOLDERS = [
    FolderCoverage("main", "House", "mp3", 10, 2, 9, 0, 1, 0),
    FolderCoverage("main", "House", "flac", 4, 2, 4, 0, 0, 0),
    FolderCoverage("main", "Techno/<i>&", "mp3", 9, 4, 8, 0, 0, 1),
]


def track(number: int, **changes: Any) -> TrackRow:
    values: dict[str, Any] = {
        "track_id": f"{number:020x}",
        "path": f"/m/{number}.mp3",
        "status": "embedded",
        "seconds_decode": 0.5,
        "seconds_embed": 2.0,
        "duration_s": 120.0,
        "pcm_sha256": f"{number:064x}",
    }
    return TrackRow(**values | changes)


def failure(path: str = HOSTILE, **changes: Any) -> Failure:
    values: dict[str, Any] = {
        "path": path,
        "track_id": "0" * 20,
        "chunk": "part001-0123abcd",
        "stage": "decode",
        "reason": "not_audio",
        "error": "Error: <b>bad</b>",
        "permanent": True,
        "attempts": 2,
        "size_bytes": 5,
        "mtime_ns": 7,
        "timestamp": "2026-11-22T12:00:00+00:00",
    }
    return Failure(**values | changes)


def report_inputs(**changes: Any) -> ReportInputs:
    """Return what the report shows, with some of it changed."""
    values: dict[str, Any] = {
        "audit": AuditRecord(BEFORE, NOW),
        "summary": SUMMARY,
        "history": [ENTRY],
        "folders": FOLDERS,
        "failures": [failure()],
        "remarks": {"/m/cut.mp3": "cut_short"},
        "tracks": [track(1), track(2)],
        "chunks": [CHUNK],
        "profile": PROFILE,
        "roots": [Root("main", Path("/m"))],
        "atlas": None,
    }
    return ReportInputs(**values | changes)
