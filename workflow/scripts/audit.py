"""Audits the rebuilt meta.json against the baseline."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.audit import run

run(snakemake)  # noqa: F821
