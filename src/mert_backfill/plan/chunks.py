"""The plan: the manifest in slices, each a chunk with a file of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mert_backfill.plan.gaps import GapRow, format_manifest
from mert_backfill.system.atomic import write_text

_CHUNK_FILE = re.compile(r"(part(\d{3,})-[0-9a-f]{8})\.tsv")


@dataclass(frozen=True)
class Chunk:
    """Some pending tracks.

    `name` is ``part``, a number from 001, and 8 hex digits of the sha256 of the chunk's file:
    a name never means two different lists.
    """

    name: str
    rows: tuple[GapRow, ...]


def plan_chunks(rows: Sequence[GapRow], size: int) -> list[Chunk]:
    """Slice pending tracks into chunks of `size`; the last may be shorter."""
    slices = [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]
    return [
        Chunk(f"part{number:03d}-{_content_hash(part)}", part)
        for number, part in enumerate(slices, start=1)
    ]


def write_chunks(folder: Path, chunks: Iterable[Chunk]) -> None:
    """Write one file a chunk, and remove the files of chunks that are no longer planned.

    A file that is there already is not touched, and neither is any that is no chunk file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planned = {f"{chunk.name}.tsv": format_manifest(chunk.rows) for chunk in chunks}
    for name, text in planned.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != _encode(text):
            write_text(path, text)
    for name in chunk_names(folder):
        if f"{name}.tsv" not in planned:
            (folder / f"{name}.tsv").unlink()


def chunk_names(folder: Path) -> list[str]:
    """Return the names of the chunks whose files lie in a folder, by number."""
    if not folder.is_dir():
        return []
    matches = [_CHUNK_FILE.fullmatch(file.name) for file in folder.iterdir()]
    found = [(int(match[2]), match[1]) for match in matches if match is not None]
    return [name for _, name in sorted(found)]


def _content_hash(rows: Sequence[GapRow]) -> str:
    return hashlib.sha256(_encode(format_manifest(rows))).hexdigest()[:8]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
