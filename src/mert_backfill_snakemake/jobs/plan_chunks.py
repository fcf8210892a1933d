"""Splits the manifest into chunk files and names them in the plan."""

from __future__ import annotations

import logging
from pathlib import Path

from mert_backfill.plan.calibration import check_calibration
from mert_backfill.plan.chunks import write_plan
from mert_backfill.records.summary import read_summary
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile

logger = logging.getLogger(__name__)


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        profile = model_profile(settings)
        if read_summary(settings.results.summary).needs_model:
            check_calibration(settings, profile)
        names = write_plan(settings, profile, Path(snakemake.output.plan))
        logger.debug("%d chunks planned", len(names))

    run_job(snakemake, work)
