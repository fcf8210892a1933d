"""Writes what is out of order in meta.json, and what it proposes; changes nothing."""

from __future__ import annotations

from mert_backfill.meta.triage import triage_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, triage_library)
