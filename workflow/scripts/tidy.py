"""Carries proposals of the triage out in the rebuilt meta.json."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.tidy import run

run(snakemake)  # noqa: F821
