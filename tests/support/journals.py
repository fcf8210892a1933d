"""Journals of chunks that never ran."""

from __future__ import annotations

from pathlib import Path

from mert_backfill.records.journal import JournalWriter
from mert_backfill.results import Results
from support.fakes import a_failure


class Journals:
    """Appends outcomes at a given minute to the journal of a chunk."""

    def __init__(self, folder: Path) -> None:
        self.results = Results(folder)

    def failed(self, chunk: str, track: str, minute: int, **changes: object) -> None:
        failure = a_failure(track, timestamp=self.at(minute), **changes)
        with JournalWriter(self.results.journal(chunk)) as journal:
            journal.append("failed", sync=False, failure=failure.as_record())

    def embedded(
        self,
        chunk: str,
        track: str,
        minute: int,
        *,
        profile: str = "p",
        event: str = "embedded",
        **fields: str,
    ) -> None:
        row = {"track_id": track, "pcm_sha256": f"hash of {track}", **fields}
        with JournalWriter(self.results.journal(chunk)) as journal:
            journal.append(event, sync=False, row=row, profile=profile, at=self.at(minute))

    def path(self, chunk: str) -> Path:
        return self.results.journal(chunk)

    @staticmethod
    def at(minute: int) -> str:
        return f"2026-01-01T00:{minute:02}:00.000000+00:00"
