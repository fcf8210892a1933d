"""Writes what is out of order in meta.json, and what it proposes; changes nothing."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.triage import run

run(snakemake)  # noqa: F821
