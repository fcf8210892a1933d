"""Puts back the live meta.json as it was before the last publish."""

from __future__ import annotations

from mert_backfill.meta.publish import unpublish_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, unpublish_library)
