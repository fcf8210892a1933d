"""Rebuilds meta.json from the baseline and the store."""

from _job import model_profile, run_job
from mert_backfill.meta.rebuild import rebuild_library

run_job(snakemake, lambda settings: rebuild_library(settings, model_profile(settings)))  # noqa: F821
