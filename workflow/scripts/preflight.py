"""Checks environment, device, disk and store before the first chunk."""

import json
from pathlib import Path

from _job import model_info, run_job
from mert_backfill.config import Settings
from mert_backfill.preflight import check_imports, check_results, environment, prepare_store
from mert_backfill.profile import canonical_profile
from mert_backfill.tables import write_json


def preflight(settings: Settings) -> None:
    """Check everything, and note what was found."""
    summary = json.loads(Path(snakemake.input.summary).read_bytes())  # noqa: F821
    check_results(settings.results, summary["counts"]["pending_embedding_total"])
    check_imports()
    model = model_info(settings)
    profile = canonical_profile(model)
    prepare_store(settings.results, profile)
    # these import torch, which was checked above
    from mert_backfill.encoder import choose_device
    from mert_backfill.model import load_model

    device = choose_device(settings.runtime.device)
    load_model(model)  # refuses damaged weights before the first track
    record = {"device": device, "profile": profile.name, "packages": environment()}
    write_json(snakemake.output[0], record)  # noqa: F821


run_job(snakemake, preflight)  # noqa: F821
