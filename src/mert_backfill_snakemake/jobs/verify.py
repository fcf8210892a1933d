"""Reads every vector, of the store and of meta.json, and says what it found."""

from __future__ import annotations

from mert_backfill.health.jobs import verify_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, lambda settings: verify_library(settings, model_profile(settings)))
