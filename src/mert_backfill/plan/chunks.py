"""The plan: the manifest in slices, each a chunk with a file of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mert_backfill.errors import UserError
from mert_backfill.records.chunk_list import read_chunk_names
from mert_backfill.records.ledger import is_hopeless, read_ledger
from mert_backfill.records.manifest import (
    FILE_CHANGED,
    MISSING_SIDECAR,
    PendingTrack,
    format_manifest,
    read_manifest,
)
from mert_backfill.records.origins import FileStamp, is_made_of, stamp_of
from mert_backfill.records.scan_state import ScanState
from mert_backfill.results import Results
from mert_backfill.settings import Settings
from mert_backfill.store.profile import Profile
from mert_backfill.store.tracks import Need, open_track_store
from mert_backfill.system.atomic import write_text
from mert_backfill.system.tables import write_json

_CHUNK_FILE = re.compile(r"(part(\d{3,})-[0-9a-f]{8})\.tsv")


@dataclass(frozen=True)
class Chunk:
    """Some pending tracks.

    `name` is ``part``, a number from 001, and 8 hex digits of the sha256 of the chunk's file:
    a name never means two different lists.
    """

    name: str
    rows: tuple[PendingTrack, ...]


def plan_chunks(rows: Sequence[PendingTrack], size: int) -> list[Chunk]:
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


def _content_hash(rows: Sequence[PendingTrack]) -> str:
    return hashlib.sha256(_encode(format_manifest(rows))).hexdigest()[:8]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def discard_plan(results: Results, fingerprint: str) -> None:
    """Remove a plan that is to be made again before Snakemake looks at it; and an old manifest.

    With the plan Snakemake would take its finished chunks as finished for the whole run, and not do
    those of them that the new plan opens again: the same tracks retried, or another model. With a
    manifest it would scan only if it remembers what the last scan was about: not after
    ``--touch`` or ``--cleanup-metadata``, nor where ``.snakemake`` was deleted or left behind.

    Parameters
    ----------
    results : Results
        The results folder.
    fingerprint : str
        What a scan would be about now; the manifest of one that was about the same stays.
    """
    results.plan.unlink(missing_ok=True)
    if ScanState.read(results).fingerprint != fingerprint:
        results.manifest.unlink(missing_ok=True)


@dataclass(frozen=True)
class Plan:
    """The current plan.

    Attributes
    ----------
    tracks : mapping
        The planned chunks, and the ids of their tracks.
    unfinished : tuple of str
        The chunks without a final table.
    is_done : bool
        None is unfinished, and the run has come to its end.
    changed : mapping
        The tracks that are planned because their file changed, and what that is now.
    sidecars_only : frozenset of str
        The tracks that have their vector and lack sidecars.
    """

    tracks: Mapping[str, tuple[str, ...]]
    unfinished: tuple[str, ...]
    is_done: bool
    changed: Mapping[str, FileStamp] = field(default_factory=dict)
    sidecars_only: frozenset[str] = frozenset()

    @cached_property
    def track_ids(self) -> frozenset[str]:
        """All planned tracks."""
        return frozenset(track for tracks in self.tracks.values() for track in tracks)

    @cached_property
    def unfinished_tracks(self) -> frozenset[str]:
        """The tracks of the unfinished chunks."""
        return frozenset(track for chunk in self.unfinished for track in self.tracks[chunk])


def read_plan(results: Results) -> Plan | None:
    """Return the current plan; None when there is none, or it is not that of the manifest."""
    try:
        if not results.summary.is_file():
            return None
        planned = results.plan.stat().st_mtime_ns
        if planned < results.manifest.stat().st_mtime_ns:
            return None  # killed between scanning and planning
        names = read_chunk_names(results.plan)
        if sorted(names) != sorted(chunk_names(results.chunk_files)):
            return None
        tracks: dict[str, tuple[str, ...]] = {}
        changed: dict[str, FileStamp] = {}
        sidecars_only: set[str] = set()
        for name in names:
            rows = read_manifest(results.chunk_file(name))
            tracks[name] = tuple(row.track_id for row in rows)
            changed |= {row.track_id: stamp_of(row) for row in rows if row.reason == FILE_CHANGED}
            sidecars_only |= {row.track_id for row in rows if row.reason == MISSING_SIDECAR}
    except (OSError, UserError):
        return None
    unfinished = tuple(name for name in names if not results.tracks_table(name).is_file())
    is_done = not unfinished and _reported_since(results, planned)
    return Plan(tracks, unfinished, is_done, changed, frozenset(sidecars_only))


def planned_files(results: Results) -> dict[str, FileStamp]:
    """Return the files of the tracks in all chunk files that there are, as a scan saw them."""
    found: dict[str, FileStamp] = {}
    for name in chunk_names(results.chunk_files):
        with suppress(UserError):
            rows = read_manifest(results.chunk_file(name))
            found |= {row.track_id: stamp_of(row) for row in rows}
    return found


def _reported_since(results: Results, mtime_ns: int) -> bool:
    """Tell whether the report, the last file that a run writes, was written since."""
    try:
        return results.report.stat().st_mtime_ns >= mtime_ns
    except OSError:
        return False


def write_plan(settings: Settings, profile: Profile, output: Path) -> list[str]:
    """Write the chunk files and, to `output`, the names of the planned chunks.

    A chunk that was finished under the same name before has its table taken away when one of
    its tracks needs work again: its vector is gone, or it is to be tried once more. When none
    does, the same list was merely planned again, and the chunk stays finished.

    Returns
    -------
    list of str
        The names of the chunks.
    """
    results = settings.results
    rows = read_manifest(results.manifest)
    store = open_track_store(results, profile, settings.embedding.sidecars)
    ledger = read_ledger(results, profile.name)
    state = ScanState.read(results)

    def is_done(row: PendingTrack) -> bool:
        theirs = frozenset(state.theirs.get(row.track_id, ()))
        need = Need(row.reason != MISSING_SIDECAR, theirs)
        return store.is_complete(row.track_id, need) and is_made_of(
            row, ledger.made_of.get(row.track_id)
        )

    chunks = plan_chunks(rows, settings.chunking.size)
    write_chunks(results.chunk_files, chunks)
    for chunk in chunks:
        table = results.tracks_table(chunk.name)
        if table.exists() and not all(
            is_done(row) or is_hopeless(row, ledger, state.released) for row in chunk.rows
        ):
            table.unlink()
    names = [chunk.name for chunk in chunks]
    write_json(output, {"chunks": names})
    return names
