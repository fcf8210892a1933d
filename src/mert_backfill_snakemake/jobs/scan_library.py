"""Writes the gap manifest, its summary and the list of pending paths."""

from __future__ import annotations

import logging

from mert_backfill.plan.scan import write_scan
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile

logger = logging.getLogger(__name__)


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        key, fingerprint = snakemake.params.library  # what made this job run
        report = write_scan(settings, model_profile(settings), key, fingerprint)
        for name, count in report.counts.items():
            logger.debug("%s: %d", name, count)

    run_job(snakemake, work)
