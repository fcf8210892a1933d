"""Reads every vector, of the store and of meta.json, and says what it found."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.verify import run

run(snakemake)  # noqa: F821
