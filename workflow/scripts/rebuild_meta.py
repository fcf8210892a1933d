"""Rebuilds meta.json from the baseline and the store."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.rebuild_meta import run

run(snakemake)  # noqa: F821
