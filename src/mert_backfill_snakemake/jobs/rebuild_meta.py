"""Rebuilds meta.json from the baseline and the store."""

from __future__ import annotations

from mert_backfill.meta.rebuild import rebuild_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, lambda settings: rebuild_library(settings, model_profile(settings)))
