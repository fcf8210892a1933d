"""Draws the report: the audit for people, in one page."""

from pathlib import Path

from _job import model_profile, run_job
from mert_backfill.health.jobs import report_library
from mert_backfill.settings import Settings


def report(settings: Settings) -> None:
    """Write the page."""
    tables = snakemake.input.tracks  # noqa: F821
    chunks = [Path(table).name.removesuffix(".tracks.tsv") for table in tables]
    report_library(settings, model_profile(settings), chunks)


run_job(snakemake, report)  # noqa: F821
