"""The proof that a rebuilt meta.json is the baseline with more embeddings, and nothing less."""

from __future__ import annotations

from collections.abc import Iterable

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.library.meta_file import SECTION_REFS, SECTION_VERSION, MetaFile
from mert_backfill.library.meta_text import says_the_same

# what the rebuild may change in a row
EMBEDDING_FIELDS = frozenset(
    {"embedding", "embedding_source", "embedding_profile", "embedding_provenance"}
)
_SECTION_FIELDS = frozenset({*SECTION_REFS, *SECTION_VERSION})


def check_nothing_lost(baseline: MetaFile, rebuilt: MetaFile, stale: Iterable[str]) -> None:
    """Check that the rebuilt meta.json still holds all that the baseline held.

    Raises
    ------
    UserError
        A row is gone that is not stale, a field changed that is not about the embedding, an
        existing embedding was replaced, or something beside the tracks changed.
    """
    may_go = set(stale)
    for key, row in baseline.tracks.items():
        if key not in rebuilt.tracks:
            if key not in may_go:
                raise _lost(f"the row {key!r} is gone")
            continue
        if baseline.text.row(key) == rebuilt.text.row(key):
            continue
        may_change = _may_change(baseline, key)
        before, now = baseline.text.fields(key), rebuilt.text.fields(key)
        for field in row:
            if field in may_change:
                continue
            if field not in now or not says_the_same(before[field], now[field]):
                raise _lost(f"the field {field!r} of the row {key!r} changed")
    entries = rebuilt.text.entries()
    for name, text in baseline.text.entries().items():
        if name not in entries or not says_the_same(text, entries[name]):
            raise _lost(f"the entry {name!r} changed")


def _may_change(baseline: MetaFile, key: str) -> frozenset[str]:
    """Return the fields of a row that the rebuild may give other values."""
    embedding = frozenset() if baseline.has_embedding(key) else EMBEDDING_FIELDS
    return embedding if baseline.has_sections(key) else embedding | _SECTION_FIELDS


def _lost(what: str) -> UserError:
    return UserError(
        f"audit: the rebuilt meta.json is not the baseline with more embeddings: {what}; the "
        "audit was not written; if meta.json has changed meanwhile run "
        f"`{command()}`, else report this"
    )
