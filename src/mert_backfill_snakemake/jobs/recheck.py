"""Finds vectors that earlier versions made of less sound than there is."""

from __future__ import annotations

from functools import partial

from mert_backfill.health.jobs import recheck_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, partial(recheck_library, threads=snakemake.threads))
