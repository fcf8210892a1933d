"""Writes the rebuilt meta.json over the live one."""

from _job import run_job
from mert_backfill.meta.publish import publish_library

run_job(snakemake, publish_library)  # noqa: F821
