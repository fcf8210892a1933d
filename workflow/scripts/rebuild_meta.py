"""Rebuilds meta.json from the baseline and the store."""

import logging

from _job import model_profile, run_job
from mert_backfill.library.meta_file import stale_meta_keys
from mert_backfill.meta.rebuild import add_to_archive, rebuild_meta, write_meta
from mert_backfill.plan.inputs import list_scanned_library, read_baseline
from mert_backfill.settings import Settings
from mert_backfill.store.tracks import open_track_store
from mert_backfill.system.tables import write_json


def rebuild(settings: Settings) -> None:
    """Write the rebuilt meta.json, and what it was rebuilt from."""
    baseline = read_baseline(settings)
    listing = list_scanned_library(settings)
    profile = model_profile(settings)
    store = open_track_store(settings.results, profile, settings.embedding.sidecars)
    rebuilt = rebuild_meta(
        baseline,
        listing.files,
        store.vectors,
        profile.name,
        settings.meta.path_map,
        settings.meta.stale_policy,
        stale_meta_keys(listing, baseline),
        next((sidecars for sidecars in store.sidecars if sidecars.kind == "sections"), None),
    )
    output = snakemake.output  # noqa: F821
    if settings.meta.stale_policy == "archive":
        add_to_archive(settings.results.archived_rows, rebuilt.removed)
    write_json(output.source, {"baseline": str(settings.meta.baseline), "sha256": baseline.sha256})
    write_meta(output.meta, rebuilt.document)
    filled, added, removed = map(len, (rebuilt.filled_keys, rebuilt.added_keys, rebuilt.removed))
    logging.info("rows filled: %d, added: %d, removed: %d", filled, added, removed)


run_job(snakemake, rebuild)  # noqa: F821
