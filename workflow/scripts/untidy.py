"""Takes back in the rebuilt meta.json what was tidied."""

import mert_backfill_checkout  # noqa: F401 - its src before any other
from mert_backfill_snakemake.jobs.untidy import run

run(snakemake)  # noqa: F821
