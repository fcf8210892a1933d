"""Writing the plan: chunk files, and which finished chunks have to be done again."""

from __future__ import annotations

from pathlib import Path

from mert_backfill.chunk.finish import tracks_table
from mert_backfill.chunk.run import is_hopeless
from mert_backfill.config import Settings
from mert_backfill.plan.chunks import plan_chunks, write_chunks
from mert_backfill.plan.gaps import read_manifest
from mert_backfill.plan.scan import ScanState
from mert_backfill.records.ledger import read_ledger
from mert_backfill.store.profile import Profile
from mert_backfill.store.sidecars import open_track_store
from mert_backfill.system.tables import write_json


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
    chunks = plan_chunks(read_manifest(results / "gaps" / "manifest.tsv"), settings.chunk_size)
    write_chunks(results / "gaps" / "chunks", chunks)
    store = open_track_store(results, profile, settings.sidecars)
    ledger = read_ledger(results / "chunks", profile.name)
    released = ScanState.read(results).released
    for chunk in chunks:
        table = tracks_table(results / "chunks", chunk.name)
        if table.exists() and not all(
            store.is_complete(row.track_id) or is_hopeless(row, ledger, released)
            for row in chunk.rows
        ):
            table.unlink()
    names = [chunk.name for chunk in chunks]
    write_json(output, {"chunks": names})
    return names
