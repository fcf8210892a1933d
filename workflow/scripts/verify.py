"""Reads every vector of the store and says what it found."""

from _job import run_job
from mert_backfill.health.jobs import verify_library

run_job(snakemake, verify_library)  # noqa: F821
