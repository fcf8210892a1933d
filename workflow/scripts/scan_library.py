"""Writes the gap manifest, its summary and the list of pending paths."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.scan_library import run

run(snakemake)  # noqa: F821
