"""Carries proposals of the triage out in the rebuilt meta.json."""

from __future__ import annotations

from mert_backfill.meta.tidy import tidy_library
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.jobs.renew import renew_pages
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        profile = model_profile(settings)
        if tidy_library(settings, profile).done:
            renew_pages(settings, profile)

    run_job(snakemake, work)
