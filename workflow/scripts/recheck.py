"""Finds vectors that earlier versions made of less sound than there is."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.recheck import run

run(snakemake)  # noqa: F821
