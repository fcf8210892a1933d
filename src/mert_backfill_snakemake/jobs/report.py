"""Draws the report: the audit for people, in one page."""

from __future__ import annotations

from pathlib import Path

from mert_backfill.health.jobs import report_library
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        tables = map(Path, snakemake.input.tracks)
        chunks = [table.name.removesuffix(".tracks.tsv") for table in tables]
        report_library(settings, model_profile(settings), chunks)

    run_job(snakemake, work)
