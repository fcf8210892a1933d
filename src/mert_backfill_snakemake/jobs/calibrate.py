"""Embeds some of the baseline's tracks again, to find out which recipe made their vectors."""

from __future__ import annotations

import sys
from pathlib import Path

from mert_backfill.chunk.calibrate import calibrate_library
from mert_backfill.chunk.supervisor import ChunkStopped
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_info


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        log = Path(snakemake.log[0])
        try:
            calibrate_library(settings, model_info(settings), snakemake.threads, log)
        except ChunkStopped:
            sys.exit(1)

    run_job(snakemake, work)
