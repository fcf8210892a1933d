"""Writes the atlas: what the vectors are for."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.atlas import run

run(snakemake)  # noqa: F821
