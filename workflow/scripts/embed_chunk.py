"""Embeds the tracks of one chunk."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.embed_chunk import run

run(snakemake)  # noqa: F821
