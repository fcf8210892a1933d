"""Checks environment, device, disk, model and store before a plan is made."""

from __future__ import annotations

import logging
from dataclasses import replace

from mert_backfill.chunk.imports import check_imports
from mert_backfill.chunk.preflight import (
    bytes_per_track,
    check_decoders,
    check_results,
    prepare_store,
)
from mert_backfill.recipes import RECIPES
from mert_backfill.records.preflight import PreflightRecord
from mert_backfill.records.summary import Summary, read_summary
from mert_backfill.settings import Settings
from mert_backfill.store.profile import make_profile
from mert_backfill.system.machine import environment, gpu_signs
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_info

logger = logging.getLogger(__name__)


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        _check(settings, read_summary(snakemake.input.summary)).write(settings.results)

    run_job(snakemake, work)


def _check(settings: Settings, summary: Summary) -> PreflightRecord:
    """Check everything that is needed, and return what was found."""
    pending, sidecars = summary.pending, settings.embedding.sidecars
    model = model_info(settings)
    profile = make_profile(RECIPES[settings.embedding.profile], model)
    record = PreflightRecord(profile.name, environment())
    planned = min(pending, settings.chunking.limit or pending)
    needed = planned * bytes_per_track(profile, sidecars)
    for weaker in check_results(settings.results, needed):
        logger.warning("%s", weaker)
    prepare_store(settings.results, profile)
    if pending:
        check_imports(harmony="harmonic" in sidecars)
        check_decoders(settings.library.extensions)
    if summary.needs_model:
        # these import torch, which was checked above
        from mert_backfill.model.encoder import choose_device
        from mert_backfill.model.weights import load_model

        record = replace(record, device=choose_device(settings.runtime.device))
        _tell_of_an_idle_gpu(settings.runtime.device, record)
        load_model(model)  # refuses damaged weights before the first track
    return record


def _tell_of_an_idle_gpu(requested: str, record: PreflightRecord) -> None:
    signs = gpu_signs()
    if requested == "auto" and record.device == "cpu" and signs:
        logger.warning(
            "a GPU is here (%s), but torch %s cannot use it, and the CPU computes; install the "
            "torch build and the driver for it, or set runtime.device to cpu",
            ", ".join(signs),
            record.packages.get("torch", ""),
        )
