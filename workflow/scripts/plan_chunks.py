"""Splits the manifest into chunk files and names them in the plan."""

import logging
from pathlib import Path

from _job import model_profile, run_job
from mert_backfill.plan.chunks import write_plan
from mert_backfill.settings import Settings


def plan(settings: Settings) -> None:
    """Write chunk files and the plan."""
    names = write_plan(settings, model_profile(settings), Path(snakemake.output.plan))  # noqa: F821
    logging.info("%d chunks planned", len(names))


run_job(snakemake, plan)  # noqa: F821
