"""Writes the atlas: the library with its vectors, neighbours, near-duplicates, an index."""

from __future__ import annotations

from mert_backfill.atlas.job import make_atlas
from mert_backfill.settings import Settings
from mert_backfill_snakemake.job import run_job
from mert_backfill_snakemake.objects import Job
from mert_backfill_snakemake.settings import model_profile


def run(snakemake: Job) -> None:
    """Do the job."""

    def work(settings: Settings) -> None:
        make_atlas(settings, model_profile(settings), snakemake.threads)

    run_job(snakemake, work)
