"""Checks environment, device, disk, model and store before a plan is made."""

from _job import model_info, run_job
from mert_backfill.chunk.preflight import (
    bytes_per_track,
    check_decoders,
    check_imports,
    check_results,
    prepare_store,
)
from mert_backfill.recipes import CANONICAL
from mert_backfill.records.summary import read_summary
from mert_backfill.settings import Settings
from mert_backfill.store.profile import make_profile
from mert_backfill.system.machine import environment
from mert_backfill.system.tables import write_json


def preflight(settings: Settings) -> None:
    """Check everything, and note what was found."""
    pending = read_summary(snakemake.input.summary).pending  # noqa: F821
    model = model_info(settings)
    profile = make_profile(CANONICAL, model)
    record: dict[str, object] = {"profile": profile.name, "packages": environment()}
    planned = min(pending, settings.chunking.limit or pending)
    check_results(settings.results, planned * bytes_per_track(profile, settings.embedding.sidecars))
    prepare_store(settings.results, profile)
    if pending:
        check_imports()
        check_decoders(settings.library.extensions)
        # these import torch, which was checked above
        from mert_backfill.model.encoder import choose_device
        from mert_backfill.model.weights import load_model

        record["device"] = choose_device(settings.runtime.device)
        load_model(model)  # refuses damaged weights before the first track
    write_json(snakemake.output[0], record)  # noqa: F821


run_job(snakemake, preflight)  # noqa: F821
