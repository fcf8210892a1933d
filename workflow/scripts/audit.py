"""Audits the rebuilt meta.json against the baseline."""

from _job import model_profile, run_job
from mert_backfill.health.jobs import audit_library

run_job(snakemake, lambda settings: audit_library(settings, model_profile(settings)))  # noqa: F821
