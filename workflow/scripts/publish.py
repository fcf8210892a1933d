"""Writes the rebuilt meta.json over the live one."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.publish import run

run(snakemake)  # noqa: F821
