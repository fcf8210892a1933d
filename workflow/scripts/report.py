"""Draws the report: the audit for people, in one page."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.report import run

run(snakemake)  # noqa: F821
