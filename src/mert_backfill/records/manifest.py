"""The manifest of pending tracks; chunk files are slices of it."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.hints import command
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import format_tsv, read_tsv

MISSING_META = "missing_meta"
MISSING_EMBEDDING_REF = "missing_embedding_ref"
EMBEDDING_FILE_MISSING = "embedding_file_missing"
EMBEDDING_INVALID = "embedding_invalid"
FILE_CHANGED = "file_changed"
MISSING_SIDECAR = "missing_sidecar"


@dataclass(frozen=True, slots=True)
class PendingTrack:
    """A pending track: a row of the manifest and of a chunk file.

    `reason` is one of ``missing_meta``, ``missing_embedding_ref``,
    ``embedding_file_missing`` and ``embedding_invalid``, ``file_changed`` for a track whose
    file is not as it was when its vector was made, or ``missing_sidecar`` for one
    that has its vector but not the sidecars asked for; `meta_key` is the key of its row in
    the baseline, or empty.
    """

    track_id: str
    path: str
    reason: str
    meta_key: str
    size_bytes: int
    mtime_ns: int


MANIFEST_HEADER = tuple(field.name for field in fields(PendingTrack))


def format_manifest(rows: Iterable[PendingTrack]) -> str:
    """Return the text of a manifest or of a chunk file."""
    return format_tsv(MANIFEST_HEADER, map(attrgetter(*MANIFEST_HEADER), rows))


def write_manifest(path: Path, rows: Iterable[PendingTrack]) -> None:
    """Write the pending tracks as TSV."""
    write_text(path, format_manifest(rows))


def read_manifest(path: Path) -> list[PendingTrack]:
    """Read a manifest or a chunk file.

    Raises
    ------
    UserError
        The file is missing, or was not written by `write_manifest`.
    """
    try:
        return [
            PendingTrack(
                track_id=row["track_id"],
                path=row["path"],
                reason=row["reason"],
                meta_key=row["meta_key"],
                size_bytes=int(row["size_bytes"]),
                mtime_ns=int(row["mtime_ns"]),
            )
            for row in read_tsv(path)
        ]
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; run `{command()}`") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: this is not a list of tracks that the scan wrote; delete it and run "
            f"`{command()}`"
        ) from error


def write_pending_paths(path: Path, rows: Iterable[PendingTrack]) -> None:
    """Write the paths of `rows`, one a line; those that hold a line break are left out."""
    paths = (row.path for row in rows)
    write_text(path, "".join(f"{p}\n" for p in paths if "\n" not in p and "\r" not in p))
