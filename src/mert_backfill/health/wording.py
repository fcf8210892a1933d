"""Words for people."""

from __future__ import annotations

from mert_backfill.health.counts import LibraryCounters


def headline(library: LibraryCounters) -> str:
    """Return the result of a run in one sentence."""
    before, now = library.before, library.now
    closed = now.embedded - before.embedded
    return (
        f"Closed {closed:,} of {before.open:,} gaps: {now.embedded:,} of {now.tracks:,} "
        f"tracks have an embedding, {before.embedded:,} had one before."
    )
