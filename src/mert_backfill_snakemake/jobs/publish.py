"""Writes the rebuilt meta.json over the live one."""

from __future__ import annotations

from mert_backfill.meta.publish import publish_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, publish_library)
