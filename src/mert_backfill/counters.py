"""The sums that the counters must keep, and the check that they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mert_backfill.errors import UserError

# a total, and the counters that have to add up to it
Sums = tuple[tuple[str, tuple[str, ...]], ...]
SCAN_SUMS: Sums = (
    (
        "audio_files_found",
        (
            "junk_files_total",
            "excluded_audio_files_total",
            "quarantined_total",
            "audio_files_scanned",
        ),
    ),
    ("audio_files_scanned", ("already_embedded_total", "pending_embedding_total")),
    ("pending_embedding_total", ("missing_meta_total", "missing_embedding_ref_total")),
)
ROW_SUMS: Sums = (
    ("tracks_total", ("embedding_ok", "embedding_gap_total")),
    (
        "embedding_gap_total",
        ("missing_embedding_ref", "embedding_file_missing", "embedding_invalid"),
    ),
)
LIBRARY_SUMS: Sums = (("tracks", ("embedded", "failed", "quarantined", "open")),)


def check_sums(where: str, counters: Mapping[str, int], sums: Sums) -> None:
    """Check that each total is the sum of its parts.

    Raises
    ------
    UserError
        One is not; the message holds the sum with its numbers.
    """
    for total, parts in sums:
        if counters[total] != sum(counters[part] for part in parts):
            raise UserError(
                f"a sum of {where} does not balance: {spell_sum(counters, total, parts)}; "
                "nothing was written, please report this"
            )


def spell_sum(counters: Mapping[str, int], total: str, parts: Sequence[str]) -> str:
    """Return a sum in words and numbers: ``a (3) = b (1) + c (2)``."""
    right = " + ".join(f"{part} ({counters[part]})" for part in parts)
    return f"{total} ({counters[total]}) = {right}"
