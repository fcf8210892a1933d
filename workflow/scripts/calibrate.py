"""Embeds some of the baseline's tracks again, to find out which recipe made their vectors."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.calibrate import run

run(snakemake)  # noqa: F821
