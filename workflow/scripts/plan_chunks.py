"""Splits the manifest into chunk files and names them in the plan."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.plan_chunks import run

run(snakemake)  # noqa: F821
