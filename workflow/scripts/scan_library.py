"""Writes the gap manifest, its summary and the list of pending paths."""

import logging

from _job import model_profile, run_job
from mert_backfill.plan.scan import write_scan
from mert_backfill.settings import Settings


def scan(settings: Settings) -> None:
    """Scan the library under the fingerprint that made this job run."""
    key, fingerprint = snakemake.params.library  # noqa: F821
    report = write_scan(settings, model_profile(settings), key, fingerprint)
    for name, count in report.counts.items():
        logging.info("%s: %d", name, count)


run_job(snakemake, scan)  # noqa: F821
