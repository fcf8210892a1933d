"""Reads every vector of the store and says what it found."""

from __future__ import annotations

from mert_backfill.health.jobs import verify_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, verify_library)
