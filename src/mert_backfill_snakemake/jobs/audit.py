"""Audits the rebuilt meta.json against the baseline."""

from __future__ import annotations

from mert_backfill.health.jobs import audit_library
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""
    run_job(snakemake, lambda settings: audit_library(settings, model_profile(settings)))
