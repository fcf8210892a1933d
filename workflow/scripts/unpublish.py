"""Puts back the live meta.json as it was before the last publish."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.unpublish import run

run(snakemake)  # noqa: F821
