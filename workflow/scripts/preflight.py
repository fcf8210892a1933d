"""Checks environment, device, disk, model and store before a plan is made."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.preflight import run

run(snakemake)  # noqa: F821
