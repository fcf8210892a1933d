"""Finds vectors that earlier versions made of less sound than there is."""

from functools import partial

from _job import run_job
from mert_backfill.health.jobs import recheck_library

run_job(snakemake, partial(recheck_library, threads=snakemake.threads))  # noqa: F821
