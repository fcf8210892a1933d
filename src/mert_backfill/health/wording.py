"""Words for people."""

from __future__ import annotations

import unicodedata

from mert_backfill.health.counts import LibraryCounters


def visible(text: str) -> str:
    """Return `text` with everything escaped that cannot be seen or is not Unicode text."""
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def headline(library: LibraryCounters) -> str:
    """Return the result of a run in one sentence."""
    before, now = library.before, library.now
    closed = now.embedded - before.embedded
    return (
        f"Closed {closed:,} of {before.open:,} gaps: {now.embedded:,} of {now.tracks:,} "
        f"tracks have an embedding, {before.embedded:,} had one before."
    )
